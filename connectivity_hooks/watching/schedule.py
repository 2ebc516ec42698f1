"""When to check: every so many steps or epochs, after so much time, or at steps named one by one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from connectivity_hooks.errors import UsageError

Every: TypeAlias = "int | str | Iterable[int] | Schedule"
Event = Literal["start", "step", "epoch", "end"]

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z%]*)")
_EXPECTED = 'expected a number of steps, "2 epochs", "30 s", "10 min", "1 h", "1 %" of the time, or a list of steps'


@dataclass
class Clock:
    """How far a training is, over all its runs.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs ended.
        elapsed: Seconds since the training began, those between two runs left out.
        spent: Seconds of these that watching took.
    """

    step: int = 0
    epoch: int = 0
    elapsed: float = 0.0
    spent: float = 0.0


class Schedule(ABC):
    """Says whether something is due."""

    @abstractmethod
    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether it is due now that the training started, took a step, ended an epoch, or is over."""

    def done(self, clock: Clock, seconds: float) -> None:  # noqa: B027 (most schedules need not know)
        """Be told that it was done at `clock`, and took `seconds`."""


@dataclass
class EverySteps(Schedule):
    """Every so many optimizer steps."""

    steps: int

    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether the step is a multiple."""
        return event == "step" and clock.step % self.steps == 0


@dataclass
class EveryEpochs(Schedule):
    """At the end of every so many epochs."""

    epochs: int

    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether the epoch is a multiple."""
        return event == "epoch" and clock.epoch % self.epochs == 0


@dataclass
class AtSteps(Schedule):
    """At the steps named; 0 is before the first."""

    steps: frozenset[int]

    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether the step is one of them."""
        return event in ("start", "step") and clock.step in self.steps


@dataclass
class EverySeconds(Schedule):
    """At the first step after so many seconds since it was last done."""

    seconds: float
    last: float = 0.0

    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether so many seconds have passed."""
        return event == "step" and clock.elapsed - self.last >= self.seconds

    def done(self, clock: Clock, seconds: float) -> None:
        """Count from here."""
        self.last = clock.elapsed


@dataclass
class ShareOfTime(Schedule):
    """As often as a share of the time allows: at the first step, and again when the next is paid off as well."""

    share: float
    spent: float = 0.0
    cost: float = 0.0
    began: float | None = None

    def due(self, clock: Clock, event: Event) -> bool:
        """Say whether one more of the last one's cost keeps within the share of the time since this run began."""
        if event != "step":
            return False
        if self.began is None:
            self.began = clock.elapsed
        return self.spent + self.cost <= self.share * (clock.elapsed - self.began)

    def done(self, clock: Clock, seconds: float) -> None:
        """Add `seconds` to what was spent."""
        self.spent += seconds
        self.cost = seconds


def parse_schedule(every: Every) -> Schedule:
    """Return the schedule a user writes: ``500``, ``"2 epochs"``, ``"30 s"``, ``"1 %"``, ``[0, 10, 100]``.

    Raises:
        UsageError: It is none, or less than one step, one epoch or a positive time.
    """
    if isinstance(every, Schedule):
        return every
    if isinstance(every, int) and not isinstance(every, bool):
        return _of(float(every), "steps", every)
    if isinstance(every, str):
        match = _TEXT.fullmatch(every.strip().lower())
        if match is None:
            raise UsageError(f"every: {_EXPECTED}, found {every!r}")
        return _of(float(match[1]), match[2] or "steps", every)
    if isinstance(every, Iterable):
        steps = list(every)
        if steps and all(isinstance(step, int) and step >= 0 for step in steps):
            return AtSteps(frozenset(steps))
    raise UsageError(f"every: {_EXPECTED}, found {every!r}")


def _of(number: float, unit: str, every: object) -> Schedule:
    word = unit.removesuffix("s") or unit
    if word in ("step", "epoch") and number >= 1 and number.is_integer():
        return EverySteps(int(number)) if word == "step" else EveryEpochs(int(number))
    if unit in _SECONDS and number > 0:
        return EverySeconds(number * _SECONDS[unit])
    if unit == "%" and 0 < number <= 100:
        return ShareOfTime(number / 100)
    raise UsageError(f"every: {_EXPECTED}, found {every!r}")
