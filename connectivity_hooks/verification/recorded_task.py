"""What the report beside a path file says it was measured on: the file itself does not say."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths.path import Path
from connectivity_hooks.untrusted import read_json

REPORT = "report.json"

_COMPARED = {
    "model": "another model",
    "data": "other data",
    "loss": "another loss",
    "output": "other outputs",
    "samples": "another number of samples",
    "batches_count": "a loss of batches of another size",
}
"""What a bound is about. Device, type and augmentation change no figure beyond rounding."""


def differences(file: pathlib.Path, path: Path, task: Mapping[str, object]) -> tuple[str, ...]:
    """Return in words how the task differs from that of the report beside a path file, as far as both say.

    Nothing is said where there is no report, it cannot be read, or it is of other checkpoints: what is verified does
    not depend on it.

    Args:
        file: The path file.
        path: What is in it.
        task: The task it is verified with, see `Task.describe`.
    """
    there = _recorded(file.parent / REPORT, path)
    found = {key: (_words(key, there), _words(key, task)) for key in _COMPARED}
    return tuple(
        f"the report beside the file is of {_COMPARED[key]}: {old} there, {new} here"
        for key, (old, new) in found.items()
        if old and new and not _alike(old, new)
    )


def _recorded(report: pathlib.Path, path: Path) -> Mapping[str, Any]:
    """Return the task of a report on the path's own checkpoints; empty where there is none."""
    if path.end_points is None or not report.is_file():
        return {}
    try:
        content = read_json(report, "a report")
    except InputError:
        return {}
    ends = _table(content).get("checkpoints")
    digests = [_table(_table(ends).get(side)).get("sha256") for side in "ab"]
    return _table(_table(content).get("task")) if digests == [end.sha256 for end in path.end_points] else {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(key: str, task: Mapping[str, Any]) -> str:
    """Return an entry as text, sizes of splits too; empty where a task does not say."""
    value = task.get(key)
    if key == "output" and key in task:
        return "none picked" if value is None else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in sorted(value.items()))
    return str(value or "")


def _alike(old: str, new: str) -> bool:
    """Say whether two names may be of one file: how much of the folders is in them depends on where one stood."""
    (first, *more), (second, *others) = old.partition("?"), new.partition("?")
    parts = [[part for part in pathlib.PurePath(name).parts if part != ".."] for name in (first, second)]
    count = min(map(len, parts))
    return more == others and parts[0][len(parts[0]) - count :] == parts[1][len(parts[1]) - count :]
