"""One pass of two networks over the same samples, side by side and step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from connectivity_hooks.model import Inputs, concatenated, rows_of, taken
from connectivity_hooks.structure import Program, input_values, run_step
from connectivity_hooks.tasks import Split

AT_ONCE = 32
"""Samples run at a time. A program may be traced for one number of samples, and is checked on as many: few enough that
the check of a large network costs little, many enough that the processor is busy with numbers and not with steps."""


def portion_of(samples: int) -> int:
    """Return how many samples to run at a time: as many as may be, of portions of one size; a few are left over."""
    return samples // max(1, math.ceil(samples / AT_ONCE))


def portions(split: Split, program: Program) -> Iterator[Inputs]:
    """Yield the inputs of a split in portions of as many samples as a program runs on, those of its shapes only."""
    waiting: Inputs = None
    for inputs, _ in split.batches(program.batch):
        if {name: tuple(tensor.shape[1:]) for name, tensor in input_values(inputs).items()} != program.shapes:
            continue
        waiting = inputs if waiting is None else concatenated([waiting, inputs])
        while waiting is not None and rows_of(waiting) >= program.batch:
            yield taken(waiting, slice(program.batch))
            left = rows_of(waiting) > program.batch
            waiting = taken(waiting, slice(program.batch, None)) if left else None


def side_by_side(
    program: Program, weights: Sequence[Mapping[str, Tensor]], inputs: Inputs, wanted: Iterable[str]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield each wanted value of all networks when it is there; values are let go of when nothing reads them any more.

    Args:
        program: What the networks compute.
        weights: Weights of each.
        inputs: Of as many samples as the program runs on.
        wanted: Names of values.
    """
    last = {name: number for number, step in enumerate(program.steps) for name in step.inputs}
    values, asked = [dict(input_values(inputs)) for _ in weights], set(wanted)
    for number, step in enumerate(program.steps):
        for own, known in zip(weights, values, strict=True):
            known[step.name] = run_step(step, own, known)
        if step.name in asked:
            yield step.name, [known[step.name] for known in values]
        for name in {step.name, *step.inputs}:
            if last.get(name, number) == number:
                for known in values:
                    del known[name]
