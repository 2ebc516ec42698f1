"""Loss and error inside a complex: at every vertex, and at places drawn from its volume."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from connectivity_hooks.connecting import PairWork
from connectivity_hooks.contracts import Correction
from connectivity_hooks.evaluation import Measurement, evaluate
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.progress import Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.simplex.complex import Complex

_TOGETHER = 8
"""Places that are measured as the corners of one path: so many models in memory, and as often a model is made."""

QUANTILE = 0.95
"""Of the figures of all draws, besides their mean and the largest: one draw in twenty is worse."""

Weighing: TypeAlias = Callable[[int], Weights]
"""Gives the weights of a place by its number."""


@dataclass(frozen=True)
class Measured:
    """What was measured at one place, by split."""

    losses: Mapping[str, float]
    errors: Mapping[str, float | None]


@dataclass(frozen=True)
class Measuring:
    """How a complex is measured, and where what is measured is kept until all of it is.

    Attributes:
        found: The complex.
        task: Model, data and loss.
        correction: What is done to the weights of each place first, if anything.
        folder: Where measurements are kept; it is there.
        subject: Everything that the complex and what is measured of it depend on.
        progress: Shows how far it is.
    """

    found: Complex
    task: Task
    correction: Correction | None
    folder: pathlib.Path
    subject: Mapping[str, object]
    progress: Progress

    def vertices(self) -> list[Measured]:
        """Measure every vertex."""
        return self._all("vertices", self.found.weights.__getitem__, len(self.found.weights))

    def draws(self, seed: int, count: int) -> list[Measured]:
        """Measure places that are drawn uniformly."""
        return self._all(f"draws-{seed}", lambda number: self.found.at(self.found.drawn(seed, number)), count)

    def _all(self, what: str, weights: Weighing, count: int) -> list[Measured]:
        parts = range(0, count, _TOGETHER)
        found = self.progress.track(parts, f"measuring {what.partition('-')[0]}", len(parts))
        return [one for begin in found for one in self._some(what, weights, begin, min(count, begin + _TOGETHER))]

    def _some(self, what: str, weights: Weighing, begin: int, end: int) -> Iterator[Measured]:
        """Measure places that become the corners of a path; nobody is told of it, since it is none."""
        points = [weights(number) for number in range(begin, end)]
        path = Path.from_points(points if len(points) > 1 else points * 2)
        # A volume of a budget of time is another one every time.
        subject = {**self.subject, "log_volume": repr(self.found.log_volume), "measured": [what, begin, end]}
        work = PairWork(self.folder, f"{what}-{begin}", subject, self.progress, passing=True)
        with work.journal() as journal:
            correct = self.correction
            curves = evaluate(path, self.task, points=2, refine=0, correct=correct, record=journal).curves
        for number in range(len(points)):
            yield _at_corner({split: curve[number] for split, curve in curves.items()})


def _at_corner(measured: Mapping[str, Measurement]) -> Measured:
    return Measured(
        {split: one.loss for split, one in measured.items()},
        {split: one.error for split, one in measured.items()},
    )


def spread(figures: Sequence[float | None]) -> dict[str, float] | None:
    """Return the mean, a quantile and the largest of some figures; None where there are none."""
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    if not all(map(math.isfinite, known)):
        return {"max": math.inf, "mean": math.inf, "quantile": math.inf}
    values = torch.tensor(known, dtype=torch.float64)
    return {"max": max(known), "mean": float(values.mean()), "quantile": float(values.quantile(QUANTILE))}
