"""Several pairs of copies of one k in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from connectivity_hooks.evaluation.barriers import Barriers


@dataclass(frozen=True)
class Spread:
    """A figure of one or more pairs.

    Attributes:
        mean: Mean over the pairs.
        least: The smallest pair's.
        most: The largest pair's.
        interval: Half-width of a 95 % confidence interval of the mean over samples of the data. For several pairs it
            is the mean of theirs, which is safe whatever their correlation: they share copies and data.
    """

    mean: float
    least: float
    most: float
    interval: float


@dataclass(frozen=True)
class Instability:
    """The barrier between copies of one k, on one split.

    Attributes:
        step: k.
        pairs: How many pairs of copies.
        loss: max_t L(θ(t)) - (L_A + L_B)/2, Frankle et al. 2020.
        error: The same of the error, what they call instability; None where the loss has no errors.
        loss_ends: Mean loss of the copies.
        error_ends: Mean error of the copies.
        error_gap: How far the worse copy's error is above the mean of both, mean over the pairs: what the error barrier
            holds of the copies themselves.
    """

    step: int
    pairs: int
    loss: Spread
    error: Spread | None
    loss_ends: float
    error_ends: float | None
    error_gap: float | None = None


def instability(pairs: Sequence[Barriers], step: int) -> Instability:
    """Put the barriers of every pair of one k and split together."""
    errors = [(pair.error_barrier, pair.error_barrier_interval) for pair in pairs]
    ends = [pair.error_ends for pair in pairs if pair.error_ends is not None]
    return Instability(
        step=step,
        pairs=len(pairs),
        loss=_spread([(pair.barrier_frankle, pair.frankle_interval) for pair in pairs]),
        error=_spread([(figure, half) for figure, half in errors if figure is not None and half is not None])
        if ends
        else None,
        loss_ends=fmean(loss for pair in pairs for loss in pair.loss_ends),
        error_ends=fmean(error for pair in ends for error in pair) if ends else None,
        error_gap=fmean(abs(a - b) / 2 for a, b in ends) if ends else None,
    )


def _spread(figures: Sequence[tuple[float, float]]) -> Spread:
    values = [value for value, _ in figures]
    return Spread(fmean(values), min(values), max(values), fmean(half for _, half in figures))
