"""`ch.evaluate`: the evaluation of a path, kept where asked for, and told to the plugins."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Mapping

from connectivity_hooks.checkpoints.atomic import make_folder
from connectivity_hooks.connecting.measured import measured_path
from connectivity_hooks.connecting.path_digest import path_digest
from connectivity_hooks.connecting.subject import code_of, data_digest, method_of
from connectivity_hooks.connecting.work import digest_of
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.evaluation.calibrated import Calibrating
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.evaluation.measuring import Measuring, make_correction
from connectivity_hooks.paths.path import Path
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks.task import Task


def evaluate(
    path: Path,
    task: Task,
    *,
    points: int = 25,
    refine: int = 4,
    correct: str | Correction | None = None,
    correct_options: Mapping[str, object] | None = None,
    calibrate: float | None = None,
    seed: int = 0,
    keep: str | os.PathLike[str] | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure loss and error along `path` on every split, at the same samples for every t.

    What is measured where, and what it costs, is told by `connectivity_hooks.evaluation.evaluate`.

    Args:
        path: The path.
        task: Model, data and loss.
        points: Size of the even grid on [0, 1], ends included.
        refine: Rounds of refinement around the worst point.
        correct: Name of a correction of the weights at each t, or one that is made; None leaves the path's own.
        correct_options: The correction's options by name.
        calibrate: Share of the training samples that a temperature is fitted on at each t; barriers are then measured
            with and without. Every t costs two passes instead of one; None: without alone.
        seed: Draws these samples.
        keep: Folder where every measured t is kept and found again, see `ch.connect`; it may be the same one.
        progress: Shows how far it is.

    Raises:
        InputError: The path does not fit the model, or `keep` cannot be written to.
        UsageError: Fewer than two points, a negative number of rounds, or an unknown correction or option.
    """
    calibrating = None if calibrate is None else Calibrating(calibrate, seed)
    how = Measuring(points, refine, make_correction(correct, correct_options, progress=progress), calibrating)
    with _journal(keep, path, task, how.correct, progress) as journal:
        return measured_path(path, task, how, journal, progress=progress)


def _journal(
    keep: str | os.PathLike[str] | None, path: Path, task: Task, correction: Correction | None, progress: Progress
) -> contextlib.AbstractContextManager[Journal | None]:
    """Open the journal of this very evaluation, in a folder that others may share."""
    if keep is None or not is_main_process():
        return contextlib.nullcontext()
    make_folder(pathlib.Path(keep))
    what = {
        "path": path_digest(path),
        "task": task.describe(),
        "code": code_of(task),
        "correction": method_of(correction),
        "data": data_digest(task),
    }
    return Journal(pathlib.Path(keep) / f"evaluation.{digest_of(what)}.jsonl", what, progress)
