"""Checkpoints in one frame, and the barriers between every two of them."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectivity_hooks.connecting import (
    Connecting,
    Pair,
    PairWork,
    connected_pair,
    data_digest,
    evaluate,
    function_change,
)
from connectivity_hooks.contracts import Aligner, Builder
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.evaluation import Measuring
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import MEASURED, Path
from connectivity_hooks.progress import Progress
from connectivity_hooks.structure import transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.said import done
from connectivity_hooks_alignment.matching.together import match_together
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Frames:
    """Checkpoints in the frame of the first.

    Attributes:
        weights: Of each checkpoint; the first ones as they were.
        records: What was done to each, JSON-ready; None for the first.
        works: What an interrupted run would find; to be finished once the output is safe.
    """

    weights: Sequence[Weights]
    records: Sequence[Mapping[str, object] | None]
    works: Sequence[PairWork] = ()


def brought_together(checkpoints: Sequence[Weights], task: Task, *, seed: int, progress: Progress) -> Frames:
    """Bring all checkpoints together at once, by their weights, see `match_together`.

    Raises:
        ConnectivityError: One would be another function.
    """
    network = network_of(task, *checkpoints)
    symmetries = network.symmetries
    found = match_together(symmetries, checkpoints, seed=seed, progress=progress)
    weights, records = [checkpoints[0]], list[Mapping[str, object] | None]([None])
    for number in range(1, len(checkpoints)):
        own = checkpoints[number]
        aligned = transformed(symmetries, own, found.elements[number], like=checkpoints[0])
        change = function_change(own, aligned, task)
        if not change.is_rounding:
            raise ConnectivityError(f"checkpoint {number + 1}: outputs change by {change.deviation:.2g}, relative")
        weights.append(aligned)
        measured = {"deviation": change.deviation, "allowed": change.allowed}
        record = {**network.record(), **done(symmetries, found.elements[number])}
        records.append({"aligner": "together", "options": {"seed": seed}, **measured, "record": record})
    return Frames(weights, records)


class _Line(Builder):
    """The straight line, whose second end is what is wanted; no other plugin has to be there for it."""

    name = "frame"

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        return Path.from_points([a, b])


def brought_to_first(
    pairs: Sequence[Pair], names: Sequence[str], task: Task, aligner: Aligner, folder: pathlib.Path, progress: Progress
) -> Frames:
    """Bring each checkpoint to the first by an aligner; an interrupted run goes on where it was."""
    how, data = Connecting(_Line(progress=progress), aligner), data_digest(task)
    weights, records, works = [pairs[0].a], list[Mapping[str, object] | None]([None]), list[PairWork]()
    for pair, name in zip(pairs, names[1:], strict=True):
        work = PairWork(folder, name, how.subject(pair, task, data), progress, passing=True)
        works.append(work)
        path, _ = connected_pair(pair, task, how, work)
        weights.append(path.end)
        records.append(path.alignment)
    return Frames(weights, records, works)


Barriers = dict[str, list[list[float]]]
"""For each split the barrier (Entezari et al. 2022) on the straight line between every two."""


def barriers(
    checkpoints: Sequence[Weights], task: Task, how: Measuring, keep: pathlib.Path, progress: Progress
) -> Barriers:
    """Measure the straight line between every two checkpoints; what `keep` holds of an interrupted run is not again."""
    count = len(checkpoints)
    found: Barriers = {split.name: [[0.0] * count for _ in range(count)] for split in task.splits()}
    pairs = list(itertools.combinations(range(count), 2))
    for one, other in progress.track(pairs, "measuring lines", len(pairs)):
        path = Path.from_points([checkpoints[one], checkpoints[other]], guarantees=[MEASURED])
        evaluation = evaluate(path, task, points=how.points, refine=how.refine, correct=how.correct, keep=keep)
        for split, figures in evaluation.barriers.items():
            found[split][one][other] = found[split][other][one] = figures.barrier_entezari
    return found
