"""The output folder of a run: made when there is something to write, and written by one run at a time."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.paths.path import Path

LOCK = ".connectivity-hooks.lock"
UNFINISHED = ".unfinished"


class OutputFolder:
    """A folder that one run writes to.

    Args:
        path: The folder; made with its parents when missing.

    Raises:
        InputError: It cannot be made or written, or another run is writing to it.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise InputError(f"{path}: cannot be written to: {error.strerror}; choose another --out") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InputError(f"{path}: another run is writing to this folder; choose another --out") from None

    def path_file(self, builder: str) -> pathlib.Path:
        """Return where a builder's path goes."""
        return self.path / f"{builder}.path.safetensors"

    def unfinished_path(self, builder: str, subject: Mapping[str, object]) -> Path | None:
        """Return the path that an interrupted run of the same subject built, or None."""
        marker, file = self._marker(builder), self.path_file(builder)
        if not (marker.exists() and file.exists() and _subject_of(marker) == _canonical(subject)):
            return None
        return Path.load(file)

    def keep_path(self, builder: str, path: Path, subject: Mapping[str, object]) -> None:
        """Save a path that was just built, and remember what of, until `finish`."""
        self._marker(builder).unlink(missing_ok=True)
        path.save(self.path_file(builder))
        with Journal(self._marker(builder), subject):
            pass

    def journal(self, builder: str, subject: Mapping[str, object]) -> Journal:
        """Open the journal of a builder's evaluation."""
        return Journal(self._marker(builder), subject)

    def finish(self, builders: list[str]) -> None:
        """Forget what was remembered for an interruption."""
        for builder in builders:
            self._marker(builder).unlink(missing_ok=True)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.path / LOCK).unlink(missing_ok=True)
        os.close(self._lock)

    def _marker(self, builder: str) -> pathlib.Path:
        return self.path / f".{builder}{UNFINISHED}.jsonl"


def _subject_of(marker: pathlib.Path) -> str | None:
    with marker.open(encoding="utf-8") as lines:
        header = lines.readline()
    try:
        return _canonical(json.loads(header)["subject"])
    except (ValueError, KeyError, TypeError):
        return None


def _canonical(subject: Mapping[str, object]) -> str:
    return json.dumps(dict(subject), sort_keys=True)
