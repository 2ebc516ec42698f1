"""What one pass over a split measures, per sample and in sum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from connectivity_hooks.evaluation.intervals import half_width
from connectivity_hooks.tasks.loss import Loss

Source = Literal["forward", "outputs", "constant"]

_ERRORS = ("error", "error_rise", "error_climb")


@dataclass(frozen=True)
class Measurement:
    """Loss and error at one t on one split.

    Attributes:
        t: Position on the path.
        split: ``train`` or ``test``.
        loss: Mean loss over the samples; infinite where it is not a number.
        loss_interval: Half-width of its 95 % confidence interval over samples, see `intervals.half_width`.
        error: Fraction of samples predicted wrongly; None where the loss has no such notion.
        error_interval: Half-width of its 95 % confidence interval.
        excess: loss - (1-t)·L_A - t·L_B, from the same samples (Entezari et al. 2022).
        excess_interval: Half-width of its 95 % confidence interval, paired by sample.
        rise: loss - (L_A + L_B)/2, from the same samples (Frankle et al. 2020).
        rise_interval: Half-width of its 95 % confidence interval, paired by sample.
        error_rise: The rise of the error, likewise; None where the loss has no errors.
        error_rise_interval: Half-width of its 95 % confidence interval, paired by sample.
        climb: loss - max(L_A, L_B), from the same samples: how far it is above the worse end. Other than the two above
            it does not depend on how the path is parametrised, and is 0 at the worse end and below 0 at the other.
        climb_interval: Half-width of its 95 % confidence interval, paired by sample.
        error_climb: The climb of the error above the end with more errors; None where the loss has no errors.
        error_climb_interval: Half-width of its 95 % confidence interval, paired by sample.
        source: ``forward`` pass, interpolated ``outputs`` of a convex segment's ends, or the value of the ``constant``
            segment's other end.
        bend: Inside a convex segment the largest amount by which a sample's loss lies above the line between its values
            at the segment's ends, beyond rounding: anything but 0 shows that the loss is not convex in the outputs.
    """

    t: float
    split: str
    loss: float
    loss_interval: float
    error: float | None
    error_interval: float | None
    excess: float
    excess_interval: float
    rise: float
    rise_interval: float
    error_rise: float | None
    error_rise_interval: float | None
    climb: float
    climb_interval: float
    error_climb: float | None
    error_climb_interval: float | None
    source: Source
    bend: float | None = None


@dataclass(frozen=True)
class SampleScores:
    """Of every sample, on the device: losses (N,), errors (N,) and bends (N,), see `Measurement.bend`.

    `predictions` says how many predictions each error is a mean of.
    """

    losses: Tensor
    errors: Tensor | None
    predictions: int = 1
    bends: Tensor | None = None


@torch.no_grad()
def score(batches: Iterable[tuple[Tensor, Tensor]], loss: Loss) -> SampleScores:
    """Score batches of (outputs, targets) without waiting for the device."""
    losses, errors, predictions = [], [], 1
    for outputs, targets in batches:
        losses.append(loss.measure(outputs, targets))
        if loss.errors is not None:
            errors.append(loss.errors(outputs, targets))
            predictions = loss.predictions(outputs)
    return SampleScores(torch.cat(losses), torch.cat(errors) if errors else None, predictions)


def summarise(
    t: float, split: str, scores: SampleScores, ends: tuple[SampleScores, SampleScores], source: Source
) -> Measurement:
    """Reduce per-sample scores to a `Measurement`, in float64 and with one transfer from the device.

    Args:
        t: Position on the path.
        split: Name of the split.
        scores: Of the N samples at t.
        ends: Of the same samples at t = 0 and t = 1.
        source: How the scores came about.
    """
    columns = _of_losses(scores.losses, (ends[0].losses, ends[1].losses), t)
    if scores.errors is not None and ends[0].errors is not None and ends[1].errors is not None:
        columns |= _of_errors(scores.errors, (ends[0].errors, ends[1].errors))
    table = torch.stack(list(columns.values()))
    count = table.shape[1]
    moments = torch.stack([table.mean(1), table.var(1, correction=min(1, count - 1))]).tolist()
    figures: dict[str, Any] = dict.fromkeys(f"{name}{end}" for name in _ERRORS for end in ("", "_interval"))
    for name, mean, variance in zip(columns, *moments, strict=True):
        step = 1 / scores.predictions if name in _ERRORS else 0.0
        figures[name] = _number(mean)
        figures[f"{name}_interval"] = half_width(mean, variance, count, step)
    bend = None if scores.bends is None else float(scores.bends.max())
    return Measurement(t=t, split=split, source=source, bend=bend, **figures)


def _of_losses(losses: Tensor, ends: tuple[Tensor, Tensor], t: float) -> dict[str, Tensor]:
    here, a, b = losses.double(), ends[0].double(), ends[1].double()
    return {
        "loss": here,
        "excess": here - torch.lerp(a, b, t),
        "rise": here - (a + b) / 2,
        "climb": here - _worse(a, b),
    }


def _of_errors(errors: Tensor, ends: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    here, a, b = errors.double(), ends[0].double(), ends[1].double()
    return {"error": here, "error_rise": here - (a + b) / 2, "error_climb": here - _worse(a, b)}


def _worse(a: Tensor, b: Tensor) -> Tensor:
    """Return the values (N,) of the end whose mean is larger, chosen without waiting for the device."""
    return torch.where(a.mean() >= b.mean(), a, b)


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value
