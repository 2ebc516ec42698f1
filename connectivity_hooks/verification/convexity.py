"""Whether a loss that was declared convex in the outputs is seen not to be, sample by sample.

Along a convex segment outputs move on straight lines, so a convex loss of each sample lies at or below the line between
its values at the segment's ends. One sample above it, by more than rounding, refutes the declaration; a mean over many
samples could hide it. Samples weigh the same wherever the outputs are, or a mean of convex losses would not be convex.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from connectivity_hooks.tasks.loss import Loss, Terms
from connectivity_hooks.verification.rounding import UNITS

_UNITS_OF_A_LOSS = 16
"""Of a loss in a coarser type than float64: it adds up logarithms of a few outputs, not thousands of products as a
layer does. In float32 2000 units would be 2.4e-4 of the outputs, which is more than many a loss."""

_TIMES_A_NUDGE = 4
"""Roundings of the outputs inside a function, each about as large as the one that was tried."""

_LEFT_IN_A_MEAN = 4
"""Roundings of samples have both signs, and few are as large as allowed: a quarter is left in a mean."""


class Between(NamedTuple):
    """What was found of N samples between two of their outputs.

    Attributes:
        outputs: (N, …) in float64.
        terms: Terms of the losses there.
        bends: (N,) by how much a sample's loss lies above the line between its ends: 0 where rounding explains it,
            infinite where it is not a number, or where the sample's weight is another than at the ends.
        rounding: (N,) how much rounding explains.
    """

    outputs: Tensor
    terms: Terms
    bends: Tensor
    rounding: Tensor


@torch.no_grad()
def between(loss: Loss, left: Tensor, right: Tensor, targets: Tensor, share: float) -> Between:
    """Look at a loss on the way between two outputs of the same samples.

    Args:
        loss: The loss.
        left: Outputs (N, …) at one end.
        right: Outputs at the other.
        targets: Targets (N, …).
        share: How far from the first to the second, in [0, 1].
    """
    a, b = left.double(), right.double()
    outputs = torch.lerp(a, b, share)
    points = (outputs, a, b)
    terms = [loss.measure(values, targets) for values in points]
    there, first, last = (one.values() for one in terms)
    excess = (there - torch.lerp(first, last, share)).double()
    allowed = _rounding(loss, points, targets, [there, first, last])
    explained = (excess <= allowed) | ~torch.isfinite(first + last)
    bends = torch.where(explained, torch.zeros_like(excess), excess)
    weights = torch.stack([one.weights for one in terms])
    bends = torch.where((weights == weights[0]).all(0), bends, float("inf"))
    return Between(outputs, terms[0], torch.nan_to_num(bends, nan=float("inf"), posinf=float("inf")), allowed)


def rounding_of_mean(rounding: Tensor, weights: Tensor) -> Tensor:
    """Return by how much rounding moves a mean loss, of that of samples (N,) and their weights (N,)."""
    shares = weights.double()
    return (rounding * shares).sum() / shares.sum() / _LEFT_IN_A_MEAN


def _rounding(loss: Loss, points: tuple[Tensor, ...], targets: Tensor, values: list[Tensor]) -> Tensor:
    """Return how much rounding explains of each sample's loss (N,), in the type that the loss came in."""
    dtype = values[0].dtype
    scale = _scale(points, values)
    if dtype == torch.float64:
        return UNITS * torch.finfo(dtype).eps * scale
    eps = torch.finfo(dtype).eps
    nudged = [_nudged(point, eps) for point in points]
    moves = [
        (loss.measure(moved, targets).values() - value).double().abs()
        for moved, value in zip(nudged, values, strict=True)
    ]
    nudges = torch.nan_to_num(torch.stack(moves).amax(0), nan=0.0)
    return _UNITS_OF_A_LOSS * eps * scale + _TIMES_A_NUDGE * nudges


def _nudged(outputs: Tensor, eps: float) -> Tensor:
    """Return outputs off by one unit in the last place of a type, up or down by chance that is always the same.

    A function that computes in that type rounds the outputs before anything else.
    """
    generator = torch.Generator().manual_seed(0)
    signs = 2 * torch.randint(0, 2, outputs.shape[1:], generator=generator) - 1
    return outputs * (1 + eps * signs.to(outputs))


def _scale(points: tuple[Tensor, ...], values: list[Tensor]) -> Tensor:
    """Return for each sample the largest value that rounding is relative to: a loss is a difference of its outputs."""
    outputs = torch.stack([point.abs().flatten(1).amax(1) if point.ndim > 1 else point.abs() for point in points])
    losses = torch.stack([value.double().abs() for value in values])
    finite = torch.where(losses.isfinite(), losses, 0)  # what is not finite explains nothing
    return torch.maximum(outputs.amax(0), finite.amax(0)).clamp_min(1)
