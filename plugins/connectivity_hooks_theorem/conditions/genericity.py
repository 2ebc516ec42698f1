"""Whether samples stay distinct in features."""

from __future__ import annotations

import torch
from torch import Tensor

_NEAR = 4096


def collisions(features: Tensor, targets: Tensor, generator: torch.Generator) -> int:
    """Return how many samples share all features with a sample of another target.

    Samples are sorted by a random projection in float64, which almost surely tells any two different ones apart, and
    compared with their neighbours. Time N·(n + log N).

    Args:
        features: (N, n).
        targets: (N, …).
        generator: Source of the projection.
    """
    direction = torch.randn(features.shape[1], generator=generator, dtype=torch.float64).to(features.device)
    order = (features.double() @ direction).argsort()
    ordered, wanted = features[order], targets[order].reshape(len(targets), -1)
    equal = (ordered[1:] == ordered[:-1]).all(1)
    group = torch.cat([torch.zeros(1, dtype=torch.long, device=features.device), (~equal).long().cumsum(0)])
    first = torch.cat([torch.ones(1, dtype=torch.bool, device=features.device), ~equal])
    differs = (wanted != wanted[first][group]).any(1)
    mixed = torch.zeros(int(group[-1]) + 1, dtype=torch.bool, device=features.device)
    mixed[group[differs]] = True
    return int(mixed[group].sum())


def closest(features: Tensor, targets: Tensor, generator: torch.Generator) -> float | None:
    """Return the smallest distance of two samples of different targets, of 4096 drawn, in units of the features' scale.

    The scale is the root mean square distance from the mean. None where all targets are the same.
    """
    rows = torch.randperm(len(features), generator=generator)[:_NEAR].to(features.device)
    some, wanted = features[rows].double(), targets[rows].reshape(len(rows), -1).double()
    distances = torch.cdist(some, some).masked_fill(torch.cdist(wanted, wanted) == 0, float("inf"))
    scale = (some - some.mean(0)).square().sum(1).mean().sqrt()
    least = float(distances.min() / scale)
    return least if least < float("inf") else None
