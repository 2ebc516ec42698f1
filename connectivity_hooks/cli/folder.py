"""The output folder of a run: made when there is something to write, and written by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType

from connectivity_hooks.checkpoints.litter import remove_abandoned
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.journal import Journal, subject_of
from connectivity_hooks.paths.path import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.untrusted import require_utf8

LOCK = ".connectivity-hooks.lock"
UNFINISHED = ".unfinished"

_PATH = ".path.safetensors"
_FILES = {
    LOCK, "report.json", "report.html", "report.svg", "evaluation.csv", "stability.json", "stability.html",
    "stability.svg",
}  # fmt: skip
# Every file system in use takes names of so many bytes, and no longer ones.
_LONGEST_NAME = 255


class OutputFolder:
    """A folder that one run writes to.

    Args:
        path: The folder; made with its parents when missing.
        progress: Says what an earlier run left that cannot be used.

    Raises:
        InputError: It cannot be made or written, its name is not UTF-8, another run is writing to it, or a folder
            stands where one of its files belongs.
    """

    def __init__(self, path: pathlib.Path, progress: Progress = SILENT) -> None:
        require_utf8(path, "folder")
        self.path = path
        self._progress = progress
        try:
            path.mkdir(parents=True, exist_ok=True)
            _require_files(path)
            self._lock = _locked(path / LOCK)
        except BlockingIOError:
            raise InputError(f"{path}: another run is writing to this folder; choose another --out") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: cannot be written to: {reason}; choose another --out") from None
        remove_abandoned(path)

    def path_file(self, builder: str) -> pathlib.Path:
        """Return where a builder's path goes.

        Raises:
            InputError: The name is too long for a file, or is not UTF-8.
        """
        file = self.path / f"{builder}{_PATH}"
        require_utf8(file)
        if len(os.fsencode(file.name)) > _LONGEST_NAME:
            raise InputError(
                f"{builder}: its path file would have a name of more than {_LONGEST_NAME} bytes; rename it"
            )
        return file

    def path_there(self, builder: str) -> Path | None:
        """Return the path that lies there already; None where there is none, or a damaged one, which is said."""
        file = self.path_file(builder)
        if not file.exists():
            return None
        try:
            return Path.load(file)
        except InputError as fault:
            self._progress.say(f"{fault}; it is built again")
            return None

    def unfinished_path(self, builder: str, subject: Mapping[str, object]) -> Path | None:
        """Return the path that an interrupted run of the same subject built; None where it is none, or damaged."""
        marker = self._marker(builder)
        if not (marker.exists() and _same(subject_of(marker), subject)):
            return None
        path = self.path_there(builder)
        ends = [end.sha256 for end in path.end_points or ()] if path else []
        return path if ends == subject.get("ends", ends) else None

    def keep_path(self, builder: str, path: Path, subject: Mapping[str, object]) -> None:
        """Save a path that was just built, and remember what of, until `finish`."""
        self._marker(builder).unlink(missing_ok=True)
        path.save(self.path_file(builder))
        with self.journal(builder, subject):
            pass

    def journal(self, builder: str, subject: Mapping[str, object]) -> Journal:
        """Open the journal of a builder's evaluation."""
        return Journal(self._marker(builder), subject, self._progress)

    def finish(self, builders: list[str]) -> None:
        """Forget what was remembered for an interruption."""
        for builder in builders:
            self._marker(builder).unlink(missing_ok=True)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lock = self.path / LOCK
        with contextlib.suppress(OSError):  # where it was removed by hand, the one there now is another run's
            if os.path.samestat(os.fstat(self._lock), lock.lstat()):
                lock.unlink()
        os.close(self._lock)

    def _marker(self, builder: str) -> pathlib.Path:
        return self.path / f".{builder}{UNFINISHED}.jsonl"


def _require_files(folder: pathlib.Path) -> None:
    """Refuse a folder in place of a file that a run writes: said now, and not after the computation."""
    for entry in folder.iterdir():
        ours = entry.name in _FILES or entry.name.endswith((_PATH, f"{UNFINISHED}.jsonl"))
        if ours and entry.is_dir() and not entry.is_symlink():
            raise InputError(f"{entry}: is a folder where a file is to be written; remove it, or choose another --out")


def _locked(file: pathlib.Path) -> int:
    """Return a handle that holds the lock; raise `BlockingIOError` when another run does.

    A run that ends removes its lock. Who opened it just before holds a lock that nobody else can see, so that the lock
    counts only while the name still leads to it.
    """
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), file.lstat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _same(found: object, subject: Mapping[str, object]) -> bool:
    return json.dumps(found, sort_keys=True) == json.dumps(dict(subject), sort_keys=True)
