"""Perplexity: e to the mean loss of a token, as language models are compared (Jelinek et al. 1977, JASA 62, S63)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.evaluation.measurement import Measurement

LARGEST = 1e6
"""More than this is not told in figures: no vocabulary has as many words."""


@dataclass(frozen=True)
class Perplexity:
    """The perplexity along a path, for one split; infinite where it is more than floats hold.

    Attributes:
        ends: At A and B.
        max: max_t exp L(θ(t)), ends included.
        max_interval: Limits of its 95 % confidence interval: those of the loss at `max_t`, taken to the power of e.
        max_t: Where it is largest.
        min: min_t.
        middle: At t = 1/2; None where that was not measured.
    """

    ends: tuple[float, float]
    max: float
    max_interval: tuple[float, float]
    max_t: float
    min: float
    middle: float | None


def perplexity(nats: float) -> float:
    """Return e^nats, infinite where that is no float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def in_words(nats: float | None) -> str:
    """Return the perplexity of a mean loss for a person, ``> 1e6`` beyond that; a dash for what is not known."""
    if nats is None or not math.isfinite(nats):
        return "–"
    return shown(perplexity(nats))


def shown(value: float) -> str:
    """Return a perplexity for a person."""
    return f"{value:.4g}" if value <= LARGEST else "> 1e6"


def limits(low: float | None, high: float | None) -> str:
    """Return the limits of an interval for a person; nothing where they tell nothing, as of one sequence."""
    if low is None or not 0 < low <= LARGEST:
        return ""
    return f"{shown(low)} to {shown(math.inf if high is None else high)}"


def perplexity_along(curve: Sequence[Measurement]) -> Perplexity:
    """Return the perplexity along a path.

    Args:
        curve: Measurements in order of t, from 0 to 1.
    """
    highest = max(curve, key=lambda point: point.loss)
    low, high = (highest.loss + sign * highest.loss_interval for sign in (-1, 1))
    return Perplexity(
        ends=(perplexity(curve[0].loss), perplexity(curve[-1].loss)),
        max=perplexity(highest.loss),
        max_interval=(perplexity(low), perplexity(high)),
        max_t=highest.t,
        min=perplexity(min(point.loss for point in curve)),
        middle=next((perplexity(point.loss) for point in curve if point.t == 1 / 2), None),
    )
