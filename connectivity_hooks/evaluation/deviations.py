"""Spot checks of a path's guarantees by forward passes, so that none is taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.paths.path import CONSTANT, MEASURED, Guarantee, Path
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.rounding import outputs_tolerance

SAMPLES = 64


@dataclass(frozen=True)
class Deviation:
    """How far the outputs at a segment's middle and end are from what its guarantee says.

    Attributes:
        segment: Index of the segment.
        guarantee: ``constant`` or ``convex``.
        relative: Largest absolute deviation divided by the largest absolute output.
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
    """Check every guaranteed segment on the first samples of the training split."""
    split = task.train.head(min(SAMPLES, len(task.train)))
    tolerance = outputs_tolerance(task.dtype)
    found = []
    for segment, guarantee in enumerate(guarantees):
        if guarantee != MEASURED:
            left, right = path.positions[segment : segment + 2]
            outputs = [passes.outputs(t, split) for t in (left, (left + right) / 2, right)]
            found.append(Deviation(segment, guarantee, _relative(outputs, guarantee), tolerance))
    return tuple(found)


def _relative(outputs: list[Tensor], guarantee: Guarantee) -> float:
    left, middle, right = (output.double() for output in outputs)
    expected = left if guarantee == CONSTANT else (left + right) / 2
    wrong = (middle - expected).abs().max()
    if guarantee == CONSTANT:
        wrong = torch.maximum(wrong, (right - left).abs().max())
    scale = torch.stack([left.abs().max(), right.abs().max()]).max()
    return float(wrong / scale) if float(scale) > 0 else float(wrong)
