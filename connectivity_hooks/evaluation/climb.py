"""How far loss and error climb above the worse end along a path, and whether the samples show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectivity_hooks.evaluation.intervals import widening
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.tasks.guessing import Guess

ERROR_THRESHOLD = 0.02
"""Frankle et al. 2020 call an increase of the error by less than 2 points stable."""

LOSS_THRESHOLD = 0.05
"""A climb of less than 5 % of the worse end's own loss is low …"""

GUESS_THRESHOLD = 0.02
"""… and so is one of less than 2 % of what guessing costs, which is to losses what 2 points are to errors."""

UNSEEN = 5
"""Where nothing is seen to rise at all, it is enough that the interval rules out five times what counts: 10 points of
error, which takes 27 samples that do not change; to rule out 2 points takes 139."""

# A climb of less than this share of what counts is nothing: rounding, or not worth a figure.
_NOTHING = 1e-3

State = Literal["low", "rises", "undecided"]


@dataclass(frozen=True)
class Climb:
    """What was found of one figure, loss or error, on one split.

    Attributes:
        state: ``rises`` where the 95 % interval of some t, widened for the choice of t, lies above `counts_from`;
            ``low`` where the interval of every t lies below it, or nothing rises at all and it lies below `UNSEEN`
            times as much; ``undecided`` otherwise.
        height: The largest climb above the worse end measured strictly between the ends; below 0 where it stays below.
        t: Where it is largest; None where nothing was measured between the ends.
        least: Lower limit of the 95 % interval of the largest climb: the highest of the lower limits of all t, each
            widened for the choice of t. What is above the worse end is above both, and the samples need not show which
            is worse: it is no higher than that above the other end.
        most: Its upper limit: the highest of the upper limits of all t, each the lower of that above the worse end and
            that above a mean of both.
        counts_from: The threshold.
    """

    state: State
    height: float
    t: float | None
    least: float
    most: float
    counts_from: float

    @property
    def is_flat(self) -> bool:
        """Whether nothing was seen above the worse end."""
        return self.height <= _NOTHING * self.counts_from


def climb_of_loss(curve: Sequence[Measurement], guess: Guess | None) -> Climb:
    """Judge the loss of one split; `curve` is in order of t, from 0 to 1."""
    inside = [
        _Point(p.t, p.climb, p.climb_interval, _upper((p.climb, p.climb_interval), (p.excess, p.excess_interval)))
        for p in curve[1:-1]
    ]
    return _judge(inside, loss_threshold(curve, guess))


def climb_of_error(curve: Sequence[Measurement]) -> Climb | None:
    """Judge the error likewise; None where the loss has no errors."""
    if curve[0].error is None:
        return None
    inside = []
    for point in curve[1:-1]:
        climb, rise = point.error_climb or 0.0, point.error_rise or 0.0
        half, half_of_rise = point.error_climb_interval or 0.0, point.error_rise_interval or 0.0
        inside.append(_Point(point.t, climb, half, min(1.0, _upper((climb, half), (rise, half_of_rise)))))
    return _judge(inside, ERROR_THRESHOLD)


def loss_threshold(curve: Sequence[Measurement], guess: Guess | None) -> float:
    """Return the climb from which on it counts: 5 % of the larger end's loss or 2 % of guessing's, the larger."""
    own = LOSS_THRESHOLD * max(abs(curve[0].loss), abs(curve[-1].loss))
    return max(own, GUESS_THRESHOLD * guess.loss) if guess else own


def state_of(height: float, least: float, most: float, counts_from: float) -> State:
    """Say of a climb between two limits on which side of what counts it is."""
    enough = UNSEEN if height <= _NOTHING * counts_from else 1
    return "rises" if least > counts_from else "low" if most <= enough * counts_from else "undecided"


@dataclass(frozen=True)
class _Point:
    """The climb at one t, the half-width of its interval, and the upper limit that all intervals together give it."""

    t: float
    height: float
    half: float
    upper: float


def _upper(*intervals: tuple[float, float]) -> float:
    """Return the least upper limit (mean + half-width) of a climb and of figures that are larger than it.

    What is above the worse end is no further above it than above a mean of both ends. A mean of both is often nearer to
    the path sample by sample, and its interval shorter; each limit fails in 2.5 of 100 cases, the least of two in 5.
    """
    return min(mean + half for mean, half in intervals)


def _judge(inside: Sequence[_Point], counts_from: float) -> Climb:
    """Judge the climbs of one figure strictly between the ends.

    That some t rises is one claim of many, made where it looks highest, so its interval is widened for the choice; that
    all are low is one claim about each, and each interval stands for itself.
    """
    if not inside:
        return Climb("undecided", 0.0, None, -math.inf, math.inf, counts_from)
    highest = max(inside, key=lambda point: point.height)
    if not math.isfinite(highest.height):
        return Climb("rises", highest.height, highest.t, highest.height, highest.height, counts_from)
    wide = widening(len(inside))
    least = max(point.height - wide * point.half for point in inside)
    most = max(point.upper for point in inside)
    state = state_of(highest.height, least, most, counts_from)
    return Climb(state, highest.height, highest.t, least, most, counts_from)
