"""From the results of all shards to the evaluations that one process would have made."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping

from connectivity_hooks.checkpoints.atomic import make_folder
from connectivity_hooks.connecting.measured import measured_path, told
from connectivity_hooks.connecting.subject import code_of, data_digest, method_of
from connectivity_hooks.connecting.work import path_file
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.shards.difference import difference
from connectivity_hooks.shards.gathering import Found, Gathered
from connectivity_hooks.shards.items import measurements_of, merged_file
from connectivity_hooks.shards.worklist import Way, folder_of
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.untrusted import parse_json


def merged(
    gathered: Gathered, out: pathlib.Path, task: Task, measuring: Measuring, progress: Progress = SILENT
) -> Iterator[Evaluation]:
    """Write the paths, and evaluate them from what the shards measured, one after the other.

    All files are read and compared before the first is written.

    What depends on all t at once is measured here: the rounds of refinement of a way that was divided over t. It is
    kept, so that a second merge, or one after a kill, measures nothing twice.

    Args:
        gathered: What the shards left, whole.
        out: Where the paths go.
        task: The task that they had.
        measuring: How they measured.
        progress: Shows how far it is.

    Raises:
        InputError: The task or the measuring is another one, or a file cannot be used.
    """
    now = _now(task, measuring)
    for name, way in gathered.work.ways.items():
        _require_same(name, way, now)
        gathered.found(name)
    make_folder(folder_of(out))
    for name, way in gathered.work.ways.items():
        yield _evaluation(name, way, gathered.found(name), out, task, measuring, progress)


def _evaluation(
    name: str, way: Way, found: Found, out: pathlib.Path, task: Task, measuring: Measuring, progress: Progress
) -> Evaluation:
    found.path.save(path_file(out, name))
    with Journal(merged_file(folder_of(out), name, way), measurements_of(way, found.path), progress) as journal:
        first = len(journal) == 0
        for t, measurements in found.measured.items():
            if journal.known(t) is None:
                journal.add(measurements)
        before = len(journal)
        evaluation = measured_path(found.path, task, measuring, journal, progress=progress)
        silent = before == len(journal)  # nothing new was measured, and so nobody was told
    return told(evaluation) if way.parts > 1 and first and silent else evaluation


def _now(task: Task, measuring: Measuring) -> dict[str, object]:
    """Return what this task and measuring are, by the names of a subject."""
    return {
        "task": _without_device(task.describe()),
        "code": code_of(task),
        "correction": method_of(measuring.correct),
        "data": data_digest(task),
    }


def _require_same(name: str, way: Way, now: Mapping[str, object]) -> None:
    for key, value in now.items():
        then = way.subject.get(key)
        then = _without_device(then) if key == "task" and isinstance(then, Mapping) else then
        other = difference(_as_read(then), _as_read(value), key)
        if other:
            raise InputError(f"{name}: is not what its shards did: {other}; give what they were given")


def _as_read(value: object) -> object:
    """Return a value as JSON has it, names in order: it is no matter which came first."""
    return parse_json(json.dumps(value, sort_keys=True))


def _without_device(task: Mapping[str, object]) -> dict[str, object]:
    """Where something is computed changes it by rounding alone: shards of a GPU may be merged without one."""
    return {key: value for key, value in task.items() if key != "device"}
