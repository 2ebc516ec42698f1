"""Which levels the contours of a landscape have: round numbers, evenly on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = (1, 2, 5)
_FINE = (1, 1.5, 2, 3, 5, 7)
_FEW = 5
_MOST = 10
_DECADES = 3.0
_LEAST = 30.0  # times, from the lowest level to the highest
_BEYOND_GUESSING = 10.0
"""Times what guessing costs: how much worse than that a network is tells nothing."""


def levels_of(excesses: Sequence[float], guessing: float | None) -> list[float]:
    """Return levels 1, 2, 5 · 10^k of what lies above the lowest value, rising: two at least.

    The highest is no more than the largest value, and than ten times what guessing costs; the lowest about that which
    one place in fifty lies beneath, a decade and a half below the highest at least, three at most. Where these are few,
    there are others between them.

    Args:
        excesses: Of all places, 0 or more; those that are not finite do not count.
        guessing: What guessing costs; None where that is not known.
    """
    values = sorted(value for value in excesses if math.isfinite(value) and value > 0)
    if not values:
        return [1.0, 2.0]
    top = min(values[-1], math.inf if not guessing else _BEYOND_GUESSING * guessing)
    low = max(min(values[len(values) // 50], top / _LEAST), top / 10**_DECADES)
    within = _between(low, top, _STEPS)
    if len(within) < _FEW:
        within = _between(low, top, _FINE)
    if len(within) < 2:
        below = _between(low / 10, low, _FINE)[-1]
        within = [below, _between(below * 1.01, below * 10, _FINE)[0]]
    return within[-_MOST:]


def _between(low: float, high: float, steps: Sequence[float]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [value for value in values if low / 1.001 <= value <= high * 1.001]
