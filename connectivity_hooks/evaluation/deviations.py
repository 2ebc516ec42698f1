"""Spot checks of a path's guarantees by forward passes, so that none is taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.paths.path import CONSTANT, MEASURED, Guarantee, Path
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.rounding import outputs_tolerance, relative_deviation

SAMPLES = 64
"""Samples of a spot check, run three times for each segment: of a path of 40 segments as many as 8 000 in all."""


@dataclass(frozen=True)
class Deviation:
    """How far the outputs at a segment's middle and end are from what its guarantee says.

    Attributes:
        segment: Index of the segment.
        guarantee: ``constant`` or ``convex``.
        relative: Largest deviation, see `relative_deviation`.
        tolerance: What rounding in the task's dtype explains, see `verification.rounding`.
    """

    segment: int
    guarantee: Guarantee
    relative: float
    tolerance: float

    @property
    def broken(self) -> bool:
        """Whether the guarantee is refuted; NaN counts as refuted."""
        return not self.relative <= self.tolerance


def deviations(passes: Passes, path: Path, guarantees: Sequence[Guarantee], task: Task) -> tuple[Deviation, ...]:
    """Check every guaranteed segment on samples drawn from the training split."""
    split = task.train.sample(min(SAMPLES, len(task.train)), seed=0)
    tolerance = outputs_tolerance(task.dtype)
    found = []
    for segment, guarantee in enumerate(guarantees):
        if guarantee != MEASURED:
            left, right = path.interval(segment)
            outputs = [passes.outputs(t, split) for t in (left, (left + right) / 2, right)]
            found.append(Deviation(segment, guarantee, _relative(outputs, guarantee), tolerance))
    return tuple(found)


def _relative(outputs: list[Tensor], guarantee: Guarantee) -> float:
    left, middle, right = (output.double() for output in outputs)
    if guarantee == CONSTANT:
        return max(relative_deviation(middle, left), relative_deviation(right, left))
    return relative_deviation(middle, (left + right) / 2)
