"""Checkpoints as the fixed vertices of a volume, aligned to the first where asked for."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectivity_hooks.connecting import Connecting, Pair, PairWork, connected_pair, data_digest
from connectivity_hooks.contracts import Aligner
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.linear import Linear
from connectivity_hooks_curves.simplex.complex import Vertex


@dataclass(frozen=True)
class Modes:
    """Checkpoints, the first of which is as it was read.

    Attributes:
        weights: Of each.
        vertices: What each is.
        works: What an interrupted run would find; to be finished once the output is safe.
    """

    weights: Sequence[Weights]
    vertices: Sequence[Vertex]
    works: Sequence[PairWork] = ()


def modes_of(
    pairs: Sequence[Pair], task: Task, aligner: Aligner | None, folder: pathlib.Path, progress: Progress
) -> Modes:
    """Return the checkpoints of pairs that share their first one; an interrupted alignment goes on where it was."""
    files = [pairs[0].end_points[0], *(pair.end_points[1] for pair in pairs)]
    weights, records, works = [pairs[0].a], list[Mapping[str, object] | None]([None]), list[PairWork]()
    data = data_digest(task) if aligner else ""
    for number, pair in enumerate(pairs, start=2):
        end, record = pair.b, None
        if aligner is not None:
            how = Connecting(Linear(progress=progress), aligner)
            works.append(PairWork(folder, f"aligned-{number}", how.subject(pair, task, data), progress, passing=True))
            path, _ = connected_pair(pair, task, how, works[-1])
            end, record = path.end, path.alignment
        weights.append(end)
        records.append(record)
    vertices = [Vertex(e.file, e.sha256, e.dtype, record) for e, record in zip(files, records, strict=True)]
    return Modes(weights, vertices, works)
