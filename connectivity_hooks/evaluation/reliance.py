"""Which guarantees of a path an evaluation relies on: those that structure and outputs confirm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.deviations import SAMPLES, Deviation, deviations
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.paths.path import MEASURED, Guarantee, Path
from connectivity_hooks.structure import task_program
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.guarantees import untrue
from connectivity_hooks.verification.reading import mixed, reading_fault

_SHOWN = 3
"""Faults told in words: a path has hundreds of segments, and what is wrong with one is often wrong with all."""


@dataclass(frozen=True)
class Reliance:
    """What a check of a path's guarantees left of them.

    Attributes:
        guarantees: For each segment its guarantee, or ``measured`` where it was refuted or could not be checked: such
            a segment is measured like any other.
        refuted: What is wrong with those, in words; a few of them where they are many.
        deviations: Spot checks of the outputs.
    """

    guarantees: tuple[Guarantee, ...]
    refuted: tuple[str, ...]
    deviations: tuple[Deviation, ...]


def reliance(path: Path, task: Task, passes: Passes) -> Reliance:
    """Check every guarantee by the structure of the network, and by the outputs of a few samples.

    Nothing is believed because a file says so, nor because a builder of this process does: a path is proven where this
    check proves it. Time: reading the model's structure once, a comparison of weights and three passes of 64 samples
    for each segment.

    Args:
        path: The path.
        task: Model, data and loss.
        passes: Makes forward passes with the path's own statistics.
    """
    if set(path.guarantees) == {MEASURED}:
        return Reliance(path.guarantees, (), ())
    faults = _by_structure(path, task, passes) or _by_reading(path, task, passes)
    checked = deviations(passes, path, path.guarantees, task)
    for deviation in checked:
        if deviation.broken:
            words = f"outputs deviate by {deviation.relative:.1e}, rounding explains {deviation.tolerance:.1e}"
            faults.setdefault(deviation.segment, f"segment {deviation.segment} ({deviation.guarantee}): {words}")
    left = (MEASURED if segment in faults else kind for segment, kind in enumerate(path.guarantees))
    return Reliance(tuple(left), _few(list(dict.fromkeys(faults.values()))), checked)


def _by_structure(path: Path, task: Task, passes: Passes) -> dict[int, str]:
    """Return what refutes a guarantee, or keeps it from being checked, by segment."""
    guaranteed = [segment for segment, kind in enumerate(path.guarantees) if kind != MEASURED]
    try:
        program = task_program(task, passes.model)
    except InputError as error:
        words = f"the guarantees cannot be checked, since the structure of the model cannot be read: {error}"
        return dict.fromkeys(guaranteed, words)
    faults: dict[int, str] = {}
    for segment, finding in untrue(path, program):
        faults.setdefault(segment, str(finding))
    return faults


def _by_reading(path: Path, task: Task, passes: Passes) -> dict[int, str]:
    """Return, for every guaranteed segment, why what was read is not what the module does.

    Under weights mixed of both ends on every batch of every split, at the path's points on a few samples.
    """
    program = task_program(task, passes.model)
    few = task.train.sample(min(SAMPLES, len(task.train)), seed=0)
    passes.write(mixed(path.start, path.end))
    faults = (reading_fault(program, passes.weights(None), passes.beside(None, split)) for split in task.splits())
    more = (reading_fault(program, passes.weights(t), passes.beside(t, few)) for t in path.knots)
    fault = next(filter(None, itertools.chain(faults, more)), None)
    guaranteed = [segment for segment, kind in enumerate(path.guarantees) if kind != MEASURED]
    return dict.fromkeys(guaranteed, fault) if fault else {}


def _few(words: Sequence[str]) -> tuple[str, ...]:
    rest = len(words) - _SHOWN
    return (*words[:_SHOWN], f"and {rest} more") if rest > 0 else tuple(words)
