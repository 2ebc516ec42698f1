"""The output folder of a run: made when there is something to write, and written by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from types import TracebackType

from connectivity_hooks.checkpoints.litter import remove_abandoned
from connectivity_hooks.connecting.work import MEASURED, PATH, UNFINISHED
from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import require_utf8

LOCK = ".connectivity-hooks.lock"

_FILES = {
    LOCK, "report.json", "report.html", "report.svg", "evaluation.csv", "builders.csv", "stability.json",
    "stability.html", "stability.svg", "symmetries.json", "symmetries.svg",
}  # fmt: skip


class OutputFolder:
    """A folder that one run writes to.

    Args:
        path: The folder; made with its parents when missing, and removed again where the run fails before it wrote.

    Raises:
        InputError: It cannot be made or written, its name is not UTF-8, another run is writing to it, or a folder
            stands where one of its files belongs.
    """

    def __init__(self, path: pathlib.Path) -> None:
        require_utf8(path, "folder")
        self.path = path
        self._made: list[pathlib.Path] = []
        try:
            self._made = [each for each in (path, *path.parents) if not each.exists()]
            path.mkdir(parents=True, exist_ok=True)
            _require_files(path)
            self._lock = _locked(path / LOCK)
        except BlockingIOError:
            raise InputError(f"{path}: another run is writing to this folder; choose another --out") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: cannot be written to: {reason}; choose another --out") from None
        remove_abandoned(path)

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
        if kind is not None:
            with contextlib.suppress(OSError):  # not empty: something was written, or another run began
                for folder in self._made:
                    folder.rmdir()
        if error is not None:
            there = self.path.is_dir() and any(self.path.iterdir())
            vars(error)["kept"] = f"what was finished is kept in {self.path}" if there else "nothing was finished"


def _require_files(folder: pathlib.Path) -> None:
    """Refuse a folder in place of a file that a run writes: said now, and not after the computation."""
    for entry in folder.iterdir():
        hidden = {UNFINISHED, MEASURED} & set(pathlib.Path(entry.name).suffixes)
        ours = entry.name in _FILES or entry.name.endswith(PATH) or hidden
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
