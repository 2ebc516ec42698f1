"""What two networks do on the same samples: one pass, of which the covariances of their neurons are kept.

Both run with γ and β folded into the maps that read them, where the space may be rotated: then the values are those
that rotations act on, such as a stream normalised by each norm before γ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Program, Symmetries, Symmetry, folded, task_program
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_activations.moments import Moments
from connectivity_hooks_alignment.matching.by_activations.passing import portion_of, portions, side_by_side
from connectivity_hooks_alignment.matching.by_activations.readings import Reading, readings_of

SAMPLES = 4000
"""Run by default. A covariance of n neurons is off by about √(n/rows): eight rows for each neuron of a layer of 512
where a sample is one row, and many more where it has tokens or pixels."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """What one pass over the data saw, see `shortages` for whether it was enough.

    Attributes:
        moments: Of each value that was looked at.
        samples: How many samples were run.
    """

    moments: Mapping[Reading, Moments]
    samples: int

    def of(self, symmetry: Symmetry) -> list[Moments]:
        """Return what was seen of the neurons of a symmetry by themselves."""
        return [
            seen for reading, seen in self.moments.items() if reading.symmetry is symmetry and reading.groups is None
        ]

    def in_groups(self, symmetry: Symmetry) -> list[tuple[int, Moments]]:
        """Return what was seen of them in groups that move too, with the space that numbers the groups."""
        return [
            (reading.groups, seen)
            for reading, seen in self.moments.items()
            if reading.symmetry is symmetry and reading.groups is not None
        ]

    def as_groups(self, symmetry: Symmetry) -> list[tuple[Symmetry, Moments]]:
        """Return what was seen in groups that are numbered by neurons of a symmetry, with what is in them."""
        return [(reading.symmetry, seen) for reading, seen in self.moments.items() if reading.groups == symmetry.space]


@torch.no_grad()
def recorded(
    task: Task,
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    samples: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Recorded:
    """Run both networks on the same training samples, side by side, and add up how their neurons change together.

    Time: two forward passes, and for each value looked at n² products of each row in float64. Memory: both networks,
    of their values on 32 samples those that are still read, and n² numbers in float64 for each value looked at; rows
    are not kept.

    Args:
        task: Model, data, device and type.
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        samples: How many are drawn, without replacement.
        seed: Of the draw.
        progress: Shows how far it is.

    Raises:
        InputError: There are no two samples of one shape, or a value of one of the networks is not finite.
    """
    part = task.train.sample(min(samples, len(task.train)), seed)
    program = _program(task, portion_of(len(part)))
    weights = [_running(symmetries, each, task) for each in (a, b)]
    readings = readings_of(program, symmetries)
    moments = {reading: Moments(reading.pairs) for reading in readings}
    wanted = {name: [one for one in readings if one.value == name] for name in {one.value for one in readings}}
    seen = 0
    for inputs in progress.track(portions(part, program), "matching activations", len(part) // program.batch):
        seen += program.batch
        for name, values in side_by_side(program, weights, inputs, wanted):
            for reading in wanted[name]:
                try:
                    rows = [reading.held.rows(value) for value in values]
                except ValueError:  # samples stand behind the neurons: with more of them the axis is another one
                    moments.pop(reading, None)
                    continue
                moments[reading].add(*rows)
    if not seen:
        raise InputError(f"{task.train.name}: expected two or more samples of one shape to match by, found {len(part)}")
    for reading, found in moments.items():
        _require_finite(reading, found)
    return Recorded(moments, seen)


def _program(task: Task, size: int) -> Program:
    """Return the program for portions of a size; the one for two samples where it has other steps."""
    small, large = task_program(task), task_program(task, samples=size)
    names = [[step.name for step in program.steps] for program in (small, large)]
    return large if names[0] == names[1] else small


def _running(symmetries: Symmetries, weights: Mapping[str, Tensor], task: Task) -> dict[str, Tensor]:
    """Return folded weights to run with, computed in float64."""
    precise = folded_precisely(symmetries, weights)
    return {
        name: tensor.to(task.device, task.dtype if tensor.is_floating_point() else None)
        for name, tensor in precise.items()
    }


def folded_precisely(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that a network reads, folded, in float64; numbers of entries and the like as they are."""
    own = {name: weights[name] for name in symmetries.shapes}
    return folded(symmetries, {name: x.double() if x.is_floating_point() else x for name, x in own.items()})


def _require_finite(reading: Reading, seen: Moments) -> None:
    for which, finite in zip(("first", "second"), seen.is_finite(), strict=True):
        if not finite:
            raise InputError(
                f"the {which} checkpoint gives values that are not finite where {reading.symmetry.name} is read; its "
                f"neurons cannot be matched by what they do"
            )


def shortages(symmetries: Symmetries, seen: Recorded) -> list[str]:
    """Return in words which spaces were seen on too few rows, or on none, with how many samples are needed.

    A covariance of n neurons from fewer than n + 1 rows is blind in some direction: chance decides there.
    """
    found = []
    for symmetry in symmetries.symmetries:
        rows = max(
            (each.rows for each in (*seen.of(symmetry), *(one for _, one in seen.in_groups(symmetry)))), default=0
        )
        if not rows and not symmetries.inside(symmetry.space) and not seen.as_groups(symmetry):
            found.append(f"{symmetry.name}: no value shows what its neurons do; they are matched by weights")
        elif 0 < rows <= symmetry.width:
            needed = -(-(symmetry.width + 1) * seen.samples // rows)
            found.append(
                f"{symmetry.name}: {rows} rows of {symmetry.width} neurons tell too little of how they change "
                f"together; {needed} samples are needed at least"
            )
    return found
