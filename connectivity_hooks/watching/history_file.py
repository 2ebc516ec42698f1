"""history.jsonl and history.csv, appended so that a crash, a kill or a full disk loses and repeats nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import pathlib
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.errors import InputError
from connectivity_hooks.watching.history import (
    COLUMNS,
    CSV,
    JSONL,
    Lines,
    Row,
    csv_lines,
    json_line,
    read_lines,
    rows_until,
)

_STEM = "history"


class HistoryFile:
    """The two files in a folder; history.jsonl is the truth, history.csv is made of it.

    Nothing is opened before the first row. Rows of an earlier run that is not resumed are kept under another name, and
    so is a file of which not all can be read. Rows that cannot be written, on a full disk, are tried again with the
    next ones.

    Args:
        folder: Made with its parents when missing.

    Attributes:
        news: What was found wrong with the files, and what was done about it, a line each; for whoever tells the user.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.news: list[str] = []
        self._stream: BinaryIO | None = None
        self._resumed_at: int | None = None
        self._unwritten: list[Row] = []

    def resume(self, step: int) -> list[Row]:
        """Go on from `step`, and return the rows until then; later ones are dropped, they will be found again.

        Raises:
            InputError: The file cannot be read.
        """
        self._resumed_at = step
        return rows_until(read_lines(self.folder / JSONL), step)

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows; they are on the disk when this returns.

        Raises:
            InputError: The folder cannot be written to, or another run is writing to it.
            OSError: The disk is full, or fails; nothing is half written, and the rows are tried again with the next.
        """
        self._unwritten += rows
        try:
            if self._stream is None:
                self._stream = self._opened()
            _append(self._stream, "".join(json_line(row) for row in self._unwritten))
            new, self._unwritten = self._unwritten, []
            with _opened_for_appending(self.folder / CSV) as table:
                _append(table, csv_lines(new))
        except OSError:
            self._let_go()
            self._resumed_at = sys.maxsize  # what is there is this run's own, whatever of it was written
            raise

    def close(self) -> None:
        """Let go of the files, after a last try to write what could not be written.

        Raises:
            InputError: As `append`.
            OSError: As `append`.
        """
        try:
            if self._unwritten:
                self.append([])
        finally:
            self._let_go()

    def _let_go(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _opened(self) -> BinaryIO:
        """Lock the folder's history, then bring both files to what is kept of it: whole rows, none too late."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written to: {error.strerror}; choose another out=") from None
        stream = _opened_for_appending(self.folder / JSONL)
        try:
            _lock(stream, self.folder)
            if self._brought_up_to_date(stream):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # it was set aside, and is no longer the folder's history
        return self._opened()

    def _brought_up_to_date(self, stream: BinaryIO) -> bool:
        """Cut the file to what is kept of it and make the table anew; or set both aside and say False."""
        found = read_lines(self.folder / JSONL)
        if self._resumed_at is None and found.rows:
            self._set_aside(f"{_STEM}.before")
            return False
        kept = rows_until(found, self._resumed_at)
        if found.damaged:
            self._keep_damaged(found, kept)
            return False
        self._unwritten = [row for row in self._unwritten if row not in kept]  # a write that failed may have come to it
        stream.truncate(found.ends[len(kept)])
        os.fsync(stream.fileno())
        atomic_text(self.folder / CSV, ",".join(COLUMNS) + "\n" + csv_lines(kept))
        return True

    def _keep_damaged(self, found: Lines, kept: Sequence[Row]) -> None:
        aside = self._set_aside(f"{_STEM}.damaged")
        self.news.append(
            f"{self.folder / JSONL}: {found.damage}; the file is kept as {aside}, and the history goes on with the "
            f"{len(kept)} rows that can be read"
        )
        atomic_text(self.folder / JSONL, "".join(json_line(row) for row in kept))

    def _set_aside(self, stem: str) -> str:
        """Rename both files to the next free number; return the new name of history.jsonl."""
        for number in itertools.count(1):
            names = {name: name.replace(_STEM, f"{stem}-{number}") for name in (JSONL, CSV)}
            if not any(os.path.lexists(self.folder / aside) for aside in names.values()):
                break
        for name, aside in names.items():
            if os.path.lexists(self.folder / name):
                (self.folder / name).rename(self.folder / aside)
        return names[JSONL]


def _opened_for_appending(file: pathlib.Path) -> BinaryIO:
    """Open a regular file for appending, unbuffered; make it where it is missing, follow no link, wait for no pipe."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o666)
    except OSError as error:
        fault = "is a symbolic link and is not followed" if error.errno == errno.ELOOP else f"{error.strerror}"
        raise InputError(f"{file}: cannot be written to: {fault}; choose another out=") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{file}: cannot be written to: it is not a regular file; choose another out=")
    return os.fdopen(handle, "ab", buffering=0)


def _lock(stream: BinaryIO, folder: pathlib.Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{folder}: another run is writing its history there; choose another out=") from None
    except OSError as error:
        raise InputError(f"{folder}: its history cannot be locked: {error.strerror}; choose another out=") from None


def _append(stream: BinaryIO, text: str) -> None:
    """Write all of a text at the end of a file, or nothing of it."""
    raw = memoryview(text.encode("utf-8", "backslashreplace"))
    end = os.fstat(stream.fileno()).st_size
    try:
        while raw:
            raw = raw[stream.write(raw) :]
        os.fsync(stream.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            stream.truncate(end)  # half a row would swallow the next one
        raise
