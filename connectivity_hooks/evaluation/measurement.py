"""What one pass over a split measures, per sample and in sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.intervals import half_width
from connectivity_hooks.evaluation.weighted_means import COUNT, WEIGHT, moments
from connectivity_hooks.tasks.loss import CHANGING_WEIGHTS, Loss, Terms, joined
from connectivity_hooks.verification.convexity import rounding_of_mean

Source = Literal["forward", "outputs", "constant"]

_ERRORS = ("error", "error_rise", "error_climb")

_OTHER = "_of_other"  # of a climb: the same above the end that is not the worse


@dataclass(frozen=True)
class Measurement:
    """Loss and error at one t on one split.

    Attributes:
        t: Position on the path.
        split: ``train`` or ``test``.
        loss: Mean loss over all that counts of the samples; infinite where it is not a number.
        loss_interval: Half-width of its 95 % confidence interval over samples, see `weighted_means` and
            `intervals.half_width`.
        error: Fraction of predictions that are wrong; None where the loss has no such notion.
        error_interval: Half-width of its 95 % confidence interval.
        excess: loss - (1-t)·L_A - t·L_B, from the same samples (Entezari et al. 2022).
        excess_interval: Half-width of its 95 % confidence interval, paired by sample.
        rise: loss - (L_A + L_B)/2, from the same samples (Frankle et al. 2020).
        rise_interval: Half-width of its 95 % confidence interval, paired by sample.
        error_rise: The rise of the error, likewise; None where the loss has no errors.
        error_rise_interval: Half-width of its 95 % confidence interval, paired by sample.
        climb: loss - max(L_A, L_B), from the same samples: how far it is above the worse end. Other than the two above
            it does not depend on how the path is parametrised, and is 0 at the worse end and below 0 at the other.
        climb_interval: Half-width of its 95 % confidence interval, paired by sample with the worse end; wider where the
            other end may be the worse one, so that the interval begins no higher than that above the other.
        error_climb: The climb of the error above the end with more errors; None where the loss has no errors.
        error_climb_interval: Half-width of its 95 % confidence interval, likewise.
        source: ``forward`` pass, interpolated ``outputs`` of a convex segment's ends, or the value of the ``constant``
            segment's other end.
        bend: Inside a convex segment the largest amount by which a sample's loss lies above the line between its values
            at the segment's ends, beyond rounding: anything but 0 shows that the loss is not convex in the outputs.
        blur: Likewise by how much rounding moves the mean loss, in the type that the loss came in.
        samples: Of which something counts.
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
    blur: float | None = None
    samples: int | None = None


@dataclass(frozen=True)
class SampleScores:
    """Of every sample, on the device: terms of losses and of errors; bends and rounding (N,), see `convexity`."""

    losses: Terms
    errors: Terms | None
    bends: Tensor | None = None
    rounding: Tensor | None = None


@torch.no_grad()
def score(batches: Iterable[tuple[Tensor, Tensor]], loss: Loss) -> SampleScores:
    """Score batches of (outputs, targets) without waiting for the device."""
    losses, errors = [], []
    for outputs, targets in batches:
        losses.append(loss.measure(outputs, targets))
        if loss.errors is not None:
            errors.append(loss.errors(outputs, targets))
    return SampleScores(joined(losses), joined(errors) if errors else None)


def summarise(
    t: float, split: str, scores: SampleScores, ends: tuple[SampleScores, SampleScores], source: Source, loss: str = ""
) -> Measurement:
    """Reduce per-sample scores to a `Measurement`, in float64 and with one transfer from the device.

    Args:
        t: Position on the path.
        split: Name of the split.
        scores: Of the N samples at t.
        ends: Of the same samples at t = 0 and t = 1.
        source: How the scores came about.
        loss: Name of the loss.

    Raises:
        InputError: No sample weighs anything, or weights are not those at the ends.
    """
    a, b = ends
    groups = [_of_losses(scores.losses, (a.losses, b.losses), t)]
    if scores.errors is not None and a.errors is not None and b.errors is not None:
        groups.append(_of_errors(scores.errors, (a.errors, b.errors)))
    beside = _beside(scores)
    *found, samples, bend, blur = torch.cat([*(_summed(group) for group in groups), beside]).tolist()
    figures: dict[str, Any] = dict.fromkeys(f"{name}{end}" for name in _ERRORS for end in ("", "_interval"))
    for group in groups:
        size = 3 * len(group.columns) + 3
        figures |= _figures(list(group.columns), found[:size], f"{split}: loss {loss}")
        found = found[size:]
    return Measurement(
        t=t,
        split=split,
        source=source,
        bend=None if scores.bends is None else bend,
        blur=None if scores.rounding is None else blur,
        samples=round(samples),
        **figures,
    )


def _beside(scores: SampleScores) -> Tensor:
    """Return (3,) on the device: samples that count, the largest bend, what rounding moves the mean by; 0 for none."""
    weights = scores.losses.weights
    none = weights.new_zeros((), dtype=torch.float64)
    bend = none if scores.bends is None else scores.bends.max().double()
    blur = none if scores.rounding is None else rounding_of_mean(scores.rounding, weights).double()
    return torch.stack([(weights > 0).sum().double(), bend, blur])


@dataclass(frozen=True)
class _Group:
    """Sums (N,) by figure, the weights (N,) of all of them, whether these are the same at the ends, and steps."""

    columns: dict[str, Tensor]
    weights: Tensor
    same: Tensor
    steps: Tensor


def _summed(group: _Group) -> Tensor:
    """Return all that is needed of a group in one tensor, the last of it steps and whether weights are the same."""
    found = moments(torch.stack(list(group.columns.values())), group.weights)
    return torch.cat([found, group.steps, group.same[None].to(found)])


def _figures(names: Sequence[str], found: Sequence[float], where: str) -> dict[str, float]:
    """Return each figure with the half-width of its interval."""
    *found, same = found
    found, steps = found[: -len(names)], found[-len(names) :]
    if not same:
        raise InputError(f"{where}: {CHANGING_WEIGHTS}")
    if not found[WEIGHT]:
        raise InputError(f"{where}: no target counts, nothing is left to measure")
    count = round(found[COUNT]) if math.isfinite(found[COUNT]) else 1
    figures = {}
    for name, mean, variance, step in zip(names, found, found[len(names) :], steps, strict=False):
        figures[name] = _number(mean)
        figures[f"{name}_interval"] = half_width(mean, variance, count, step)
    return _above_either_end(figures, next(name for name in names if name.endswith("climb")))


def _above_either_end(figures: dict[str, float], climb: str) -> dict[str, float]:
    """Return figures in which the interval of a climb reaches down to that above the other end.

    The samples say which end is worse, and may be wrong: what is shown to be above the worse end is above both.
    """
    other, half = figures.pop(f"{climb}{_OTHER}"), figures.pop(f"{climb}{_OTHER}_interval")
    down = figures[climb] - (other - half)
    if math.isfinite(down):
        figures[f"{climb}_interval"] = max(figures[f"{climb}_interval"], down)
    return figures


def _of_losses(losses: Terms, ends: tuple[Terms, Terms], t: float) -> _Group:
    here, a, b = (terms.sums.double() for terms in (losses, *ends))
    columns = {
        "loss": here,
        "excess": here - torch.lerp(a, b, t),
        "rise": here - (a + b) / 2,
        "climb": here - _worse(a, b),
        f"climb{_OTHER}": here - _better(a, b),
    }
    return _Group(columns, losses.weights.double(), _same(losses, ends), here.new_zeros(len(columns)))


def _of_errors(errors: Terms, ends: tuple[Terms, Terms]) -> _Group:
    here, a, b = (terms.sums.double() for terms in (errors, *ends))
    columns = {"error": here, "error_rise": here - (a + b) / 2, "error_climb": here - _worse(a, b)}
    columns[f"error_climb{_OTHER}"] = here - _better(a, b)
    weights = errors.weights.double()
    return _Group(columns, weights, _same(errors, ends), _steps(torch.stack(list(columns.values())), weights))


def _steps(sums: Tensor, weights: Tensor) -> Tensor:
    """Return for K figures what share of a sample has to be reckoned to change in those that were not drawn.

    Of one prediction all of it. Of a sequence any share: tokens that are wrong together are one event, and where none
    is, the next may be a whole sequence. Of k samples that changed and one more, each is as likely the one that changed
    most, so that with a chance of 1/(k + 1) it is the next; a whole sample is then assumed, or else the largest share
    seen. The root of the mean square of both is what a variance needs.

    Args:
        sums: (K, N), float64.
        weights: (N,), the predictions of each sample that count.
    """
    shares = (sums / torch.where(weights > 0, weights, 1)).abs()
    changed = (shares > 0).sum(1)
    steps = ((1 + changed * shares.amax(1).square()) / (changed + 1)).sqrt()
    return torch.where(weights.amax() > 1, steps, torch.ones_like(steps))


def _same(here: Terms, ends: tuple[Terms, Terms]) -> Tensor:
    """Return whether weights are those at both ends, without waiting for the device."""
    return (torch.stack([end.weights for end in ends]) == here.weights).all()


def _worse(a: Tensor, b: Tensor) -> Tensor:
    """Return the sums (N,) of the end whose mean is larger, chosen without waiting for the device."""
    return torch.where(a.mean() >= b.mean(), a, b)


def _better(a: Tensor, b: Tensor) -> Tensor:
    """Return the sums (N,) of the other end."""
    return torch.where(a.mean() >= b.mean(), b, a)


def _number(value: float) -> float:
    return math.inf if math.isnan(value) else value
