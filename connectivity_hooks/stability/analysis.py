"""The analysis: every two copies of one k are connected, and the barrier between them is measured."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping, Sequence

from torch import nn

from connectivity_hooks.connecting.measured import measured_pair
from connectivity_hooks.connecting.methods import Connecting, make_aligner, make_builder
from connectivity_hooks.connecting.pair import Pair, load_pair
from connectivity_hooks.connecting.subject import data_digest
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.measuring import Measuring, make_correction
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.evaluation.running_statistics import tracked_norms
from connectivity_hooks.paths import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.stability.finished_pairs import FinishedPairs
from connectivity_hooks.stability.inspection import Twin, find, inspect, twins
from connectivity_hooks.stability.result import Connection, Stability
from connectivity_hooks.tasks.guessing import guess
from connectivity_hooks.tasks.task import Task


def stability_of(
    folder: str | os.PathLike[str],
    task: Task,
    *,
    k: int | Sequence[int] | None = None,
    builder: str = "linear",
    options: Mapping[str, object] | None = None,
    align: str | None = None,
    align_options: Mapping[str, object] | None = None,
    points: int = 25,
    refine: int = 4,
    correct: str | Correction | None = None,
    correct_options: Mapping[str, object] | None = None,
    keep: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Stability:
    """Measure the barrier between copies of a training as a function of the step k at which they part.

    ``folder`` holds ``k_<step>/`` with two or more checkpoints each, as `copies` leaves them; nothing else is needed.
    Every two copies of one k are connected by a path, by default the straight line, and evaluated on every split. The
    barrier is Frankle et al.'s (2020, section 2): the largest loss, or error, on the path minus the mean of the ends'.

    Time: (points + 2·refine) passes over the data for each pair. Memory: as `connect`, whatever the number of copies.

    Args:
        folder: Folder of the copies.
        task: Model, data and loss.
        k: Only these steps.
        builder: See `connect`; so are `options`, `align`, `align_options` and `seed`.
        options: The builder's options by name.
        align: Name of an aligner.
        align_options: Its options by name.
        points: See `evaluate`; so are `refine`, `correct` and `correct_options`.
        refine: Rounds of refinement.
        correct: Name of a correction.
        correct_options: Its options by name.
        keep: Folder where every finished pair and every t of the one in work are kept, and found again.
        seed: Seed of every random choice.
        progress: Shows how far it is.

    Raises:
        InputError: A copy is missing, cannot be used, or equals another one.
        UsageError: Unknown k, builder, aligner or option.
    """
    make = make_builder(builder, options, seed=seed, progress=progress)
    aligner = make_aligner(align, align_options, seed=seed, progress=progress)
    correction = make_correction(correct, correct_options, seed=seed, progress=progress)
    found = find(folder, [k] if isinstance(k, int) else k)
    inspect(found, task)
    how = Connecting(make, aligner, Measuring(points, refine, correction))
    return analyse(found, task, how, None if keep is None else FinishedPairs(pathlib.Path(keep), progress), progress)


def analyse(
    found: dict[int, dict[str, pathlib.Path]],
    task: Task,
    how: Connecting,
    kept: FinishedPairs | None,
    progress: Progress,
) -> Stability:
    """Do what `stability_of` does with copies that were inspected and methods that are made."""
    started = time.perf_counter()
    pairs, data = twins(found), data_digest(task)
    model, connections = task.structure(), []
    notes, said = _on_batch_norm(model, how.measuring), None
    for number, twin in enumerate(pairs, start=1):
        progress.say(f"{twin} ({number} of {len(pairs)})")
        pair = load_pair(*twin.files, task)
        notes += [f"k = {twin.step}: {note}" for note in pair.notes]
        line = Path.from_points([pair.a, pair.b])
        said = _said(line, task, how.measuring.correct) if said is None else said
        notes += [*buffer_notes(model, line, said[0]), *said[1]]
        connections.append(_connect(twin, pair, task, how, data, kept, progress))
    seconds = time.perf_counter() - started
    guessing = {split.name: guess(task.loss, split) for split in task.splits()}
    notes = list(dict.fromkeys(notes))
    return Stability(tuple(connections), task.describe(), how.describe(), seconds, tuple(notes), guessing)


def _connect(
    twin: Twin, pair: Pair, task: Task, how: Connecting, data: str, kept: FinishedPairs | None, progress: Progress
) -> Connection:
    """Measure one pair of copies, or find it measured before."""
    what = how.subject(pair, task, data)
    whole = {**what, "measuring": how.measuring.describe()}
    known = kept.known(twin, whole) if kept else None
    if known is not None:
        return known
    work = kept.work(twin, what) if kept else None
    found = measured_pair(pair, task, how, work, progress)
    connection = Connection(twin.step, *twin.names, found.curves, found.barriers, found.length)
    if kept and work:
        kept.add(twin, whole, connection)
        work.finish()
    return connection


def _said(line: Path, task: Task, correction: Correction | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the modules that a correction cannot correct, and its notes: what it says of the first pair."""
    if correction is None:
        return (), ()
    corrected = Corrected(ModelOnPath(line, task), correction)
    return corrected.left, corrected.notes


def _on_batch_norm(model: nn.Module, how: Measuring) -> list[str]:
    if how.correct is not None or not tracked_norms(model):
        return []
    return [
        "the networks have batch norm: with stored statistics a barrier holds what averaging does to them too; compare "
        "re-estimated ones"
    ]
