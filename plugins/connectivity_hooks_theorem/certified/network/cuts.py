"""Cuts: the points of a program at which a sub-network can take over from what came before."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connectivity_hooks.structure import INPUT, Step


@dataclass(frozen=True)
class Cut:
    """A point between two steps.

    Attributes:
        start: Index of the first step after it.
        values: Names of the values computed before it and read after it: the features there.
    """

    start: int
    values: tuple[str, ...]


def find_cuts(steps: Sequence[Step], mixing: Collection[str]) -> tuple[Cut, ...]:
    """Return a cut at the input and one before every layer that reads another one since the cut before.

    Between two neighbouring cuts no layer reads another: a sub-network written for the first one can use neurons that
    the sub-network of the second does not read, without changing what it does read.

    Args:
        steps: The program's steps.
        mixing: Names of the steps that mix neurons.
    """
    starts, behind = [0], set[str]()
    for index, step in enumerate(steps):
        reads_fresh = any(name in behind for name in step.inputs)
        if step.name in mixing:
            if reads_fresh:
                starts.append(index)
                behind.clear()
            behind.add(step.name)
        elif reads_fresh:
            behind.add(step.name)
    return tuple(Cut(start, _alive(steps, start)) for start in starts)


def _alive(steps: Sequence[Step], start: int) -> tuple[str, ...]:
    made = [INPUT, *(step.name for step in steps[:start])]
    read = {name for step in steps[start:] for name in step.inputs}
    return tuple(name for name in made if name in read)
