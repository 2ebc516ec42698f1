"""What one pass over a split measures, per sample and in sum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from connectivity_hooks.tasks.loss import Loss

Source = Literal["forward", "outputs", "constant"]

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Measurement:
    """Loss and error at one t on one split.

    Attributes:
        t: Position on the path.
        split: ``train`` or ``test``.
        loss: Mean loss over the samples; infinite where it is not a number.
        loss_interval: Half-width of its 95 % confidence interval over samples, 1.96 s/√N.
        error: Fraction of samples predicted wrongly; None where the loss has no such notion.
        error_interval: Half-width of its 95 % confidence interval.
        excess: loss - (1-t)·L_A - t·L_B, from the same samples (Entezari et al. 2022).
        excess_interval: Half-width of its 95 % confidence interval, paired by sample.
        source: ``forward`` pass, interpolated ``outputs`` of a convex segment's ends, or the value of the ``constant``
            segment's other end.
    """

    t: float
    split: str
    loss: float
    loss_interval: float
    error: float | None
    error_interval: float | None
    excess: float
    excess_interval: float
    source: Source


@dataclass(frozen=True)
class SampleScores:
    """Losses (N,) and errors (N,) of every sample, on the device."""

    losses: Tensor
    errors: Tensor | None


@torch.no_grad()
def score(batches: Iterable[tuple[Tensor, Tensor]], loss: Loss) -> SampleScores:
    """Score batches of (outputs, targets) without waiting for the device."""
    losses, errors = [], []
    for outputs, targets in batches:
        losses.append(loss.per_sample(outputs, targets))
        if loss.errors is not None:
            errors.append(loss.errors(outputs, targets))
    return SampleScores(torch.cat(losses), torch.cat(errors) if errors else None)


def summarise(t: float, split: str, scores: SampleScores, ends: tuple[Tensor, Tensor], source: Source) -> Measurement:
    """Reduce per-sample scores to a `Measurement`, in float64 and with one transfer from the device.

    Args:
        t: Position on the path.
        split: Name of the split.
        scores: Of the N samples at t.
        ends: Per-sample losses (N,) at t = 0 and t = 1.
        source: How the scores came about.
    """
    losses = scores.losses.double()
    excess = losses - torch.lerp(ends[0].double(), ends[1].double(), t)
    columns = [losses, excess] + ([scores.errors.double()] if scores.errors is not None else [])
    table = torch.stack(columns)
    figures = torch.stack([table.mean(1), table.var(1, correction=min(1, len(losses) - 1))]).tolist()
    means, halves = figures[0], [_NORMAL_95 * math.sqrt(variance / len(losses)) for variance in figures[1]]
    has_errors = scores.errors is not None
    return Measurement(
        t=t,
        split=split,
        loss=_number(means[0]),
        loss_interval=_number(halves[0]),
        error=means[2] if has_errors else None,
        error_interval=halves[2] if has_errors else None,
        excess=_number(means[1]),
        excess_interval=_number(halves[1]),
        source=source,
    )


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value
