"""Small ReLU networks on random subsets of features, all draws trained at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.tasks import Loss

BATCHES = 100
"""Steps of an epoch at least, where there are samples enough: with fewer an epoch of a small set hardly moves."""

SMALLEST_BATCH = 32
"""Samples of a step at least: with fewer the overhead of a step takes longer than its products."""

LARGEST_BATCH = 500
"""Samples of a step at most: 120 steps an epoch on MNIST, products large enough to fill a core."""

PEAK = 8e-3
"""Largest learning rate on flat features: that of every figure in docs/benchmarks.md; no sweep is on record."""

_ROWS = 4096
"""Samples whose outputs are computed at a time, so that hidden layers take a few MB for each draw."""


@dataclass(frozen=True)
class NetworkFit:
    """D networks.

    Attributes:
        outputs: (D, N, C) on the samples they were fitted to.
        epochs: Epochs trained.
    """

    outputs: Tensor
    epochs: int


def fit_networks(
    features: Tensor,
    targets: Tensor,
    subsets: Tensor,
    hidden: Sequence[int],
    outputs: int,
    loss: Loss,
    *,
    epochs: int,
    loss_target: float,
    generator: torch.Generator,
) -> NetworkFit:
    """Train one network for each subset of features, by Adam under a one-cycle schedule (Smith and Topin 2019).

    Time: 6·N·D·parameters operations an epoch; memory: the features, the outputs, and D networks.

    Args:
        features: (N, n), finite.
        targets: (N, …).
        subsets: (D, k) columns of the features.
        hidden: Widths of the hidden layers; none fits an affine map.
        outputs: C.
        loss: What is minimised.
        epochs: Epochs at most.
        loss_target: Training ends once the mean loss of an epoch is at most this for some draw.
        generator: Source of starting weights and of the order of samples.
    """
    scale, shift = features.std(0).clamp_min(1e-6), features.mean(0)  # a dead feature stays 0
    columns = subsets.to(features.device)
    layers = _start(len(subsets), [subsets.shape[1], *hidden, outputs], features, generator)

    def at(rows: Tensor | slice) -> Tensor:
        return _forward(layers, ((features[rows] - shift) / scale)[:, columns].transpose(0, 1))

    trained = _train(
        at, [tensor for layer in layers for tensor in layer], targets, loss, epochs, loss_target, generator
    )
    with torch.no_grad():
        parts = [at(slice(start, start + _ROWS)) for start in range(0, len(features), _ROWS)]
    return NetworkFit(torch.cat(parts, 1), trained)


def _train(
    outputs: Callable[[Tensor], Tensor],
    variables: list[Tensor],
    targets: Tensor,
    loss: Loss,
    epochs: int,
    loss_target: float,
    generator: torch.Generator,
) -> int:
    """Minimise the sum of the draws' losses; return the epochs it took."""
    count, device = len(targets), variables[0].device
    size = max(SMALLEST_BATCH, min(LARGEST_BATCH, count // BATCHES))
    optimizer = torch.optim.Adam(variables, PEAK, fused=device.type in ("cpu", "cuda"))
    total = epochs * -(-count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=total)
    for epoch in range(1, epochs + 1):
        totals = torch.zeros(len(variables[0]), device=device)
        for rows in torch.randperm(count, generator=generator).to(device).split(size):
            losses = torch.stack([loss(each, targets[rows]) for each in outputs(rows)])
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            schedule.step()
            totals += losses.detach() * len(rows)
        if float(totals.min()) <= loss_target * count:
            return epoch
    return epochs


def _start(draws: int, widths: Sequence[int], like: Tensor, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return weights (D, in, out) and biases (D, 1, out) drawn as by He et al. (2015)."""
    layers = []
    for before, after in itertools.pairwise(widths):
        weight = torch.randn(draws, before, after, generator=generator) * (2 / before) ** 0.5
        layers.append((weight.to(like).requires_grad_(), torch.zeros(draws, 1, after).to(like).requires_grad_()))
    return layers


def _forward(layers: Sequence[tuple[Tensor, Tensor]], values: Tensor) -> Tensor:
    for index, (weight, bias) in enumerate(layers):
        values = torch.baddbmm(bias, values.relu() if index else values, weight)
    return values
