"""A journal of finished measurements, so that a killed evaluation goes on from its last complete point."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from connectivity_hooks import checked_lines
from connectivity_hooks.checked_lines import content_of, line_of
from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import Table, typed
from connectivity_hooks.untrusted import guarded, read_text

_FIELDS = [field.name for field in dataclasses.fields(Measurement)]
# A kill loses nothing that was handed to the system; a power cut loses at most this many seconds of measuring, and a
# disk that takes 10 ms to sync costs at most 1 % of the time.
_UNSYNCED = 1.0


@dataclasses.dataclass(frozen=True)
class _Group:
    """A line: the measurements of one t, and the seconds since the line before."""

    measured: tuple[Measurement, ...]
    seconds: float


class Journal:
    """Appends measurements to a file of JSON lines, each after its checksum; the first says what they belong to.

    A file that belongs to something else, or has other fields, is started anew; so is a damaged one, which is said. A
    line that a crash cut short is dropped.

    Args:
        file: The journal's file.
        subject: Everything the measurements depend on, as JSON-ready values.
        progress: Says that a damaged journal is started anew.

    Attributes:
        earlier: Seconds that earlier runs took for what they measured.

    Raises:
        InputError: The file is a symbolic link, a folder or a device, or cannot be written to.
    """

    def __init__(self, file: pathlib.Path, subject: Mapping[str, object], progress: Progress = SILENT) -> None:
        header = line_of({"fields": _FIELDS, "subject": dict(subject)})
        found = _found(file, header, progress)
        if found is None:
            atomic_text(file, header)
        whole, groups = found or (len(header), [])
        self._known = {group.measured[0].t: list(group.measured) for group in groups}
        self.earlier = sum(group.seconds for group in groups)
        try:
            self._handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        except OSError as error:
            raise InputError(f"{file}: cannot be written: {error.strerror}; choose another --out") from None
        os.ftruncate(self._handle, whole)
        self._synced = self._told = time.monotonic()

    def __len__(self) -> int:
        """Return at how many t measurements are known."""
        return len(self._known)

    def known(self, t: float) -> list[Measurement] | None:
        """Return the measurements made at `t` before."""
        return self._known.get(t)

    def add(self, measurements: list[Measurement]) -> None:
        """Append the measurements of one t."""
        self._known[measurements[0].t] = measurements
        now = time.monotonic()
        checked_lines.write(self._handle, line_of(dataclasses.asdict(_Group(tuple(measurements), now - self._told))))
        self._told = now
        if time.monotonic() - self._synced >= _UNSYNCED:
            self._sync()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sync()
        os.close(self._handle)

    def _sync(self) -> None:
        os.fsync(self._handle)
        self._synced = time.monotonic()


def subject_of(file: pathlib.Path) -> object:
    """Return what a journal belongs to; None where there is none, or a damaged one."""
    try:
        with guarded(file, "a journal"):
            return content_of(_lines(file)[0])["subject"]
    except InputError:
        return None


def read_journal(file: pathlib.Path, remedy: str) -> tuple[Mapping[str, Any], list[list[Measurement]]]:
    """Return what a journal belongs to and its measurements, a list for each t; nothing of it may be damaged.

    Raises:
        InputError: It is damaged, or no journal of this version; the message ends with `remedy`.
    """
    lines = _lines(file)
    with guarded(file, "a whole journal", remedy):
        contents = [content_of(line) for line in lines]
        if not contents or not isinstance(contents[0], dict) or contents[0].get("fields") != _FIELDS:
            raise ValueError("its first line does not say what it belongs to")
        groups = [list(group.measured) for group in _groups(contents[1:])]
        return typed(Table, contents[0].get("subject")), groups


def _found(file: pathlib.Path, header: str, progress: Progress) -> tuple[int, list[_Group]] | None:
    """Return the bytes and the measurements that a journal goes on from; None where it begins, or begins anew."""
    if not file.exists():
        return None
    try:
        lines = _lines(file)
        with guarded(file, "a whole journal", "it is started anew, and what it held is measured again"):
            contents = [content_of(line) for line in lines]
            if not contents or not isinstance(contents[0], dict) or "subject" not in contents[0]:
                raise ValueError("its first line does not say what it belongs to")
            if lines[0] != header:
                return None
            return sum(len(line.encode()) for line in lines), _groups(contents[1:])
    except InputError as fault:
        progress.say(str(fault))
        return None


def _lines(file: pathlib.Path) -> list[str]:
    """Return the complete lines."""
    return [line + "\n" for line in read_text(file, "a whole journal", "it is started anew").split("\n")[:-1]]


def _groups(contents: Sequence[Any]) -> list[_Group]:
    groups: list[_Group] = [typed(_Group, content) for content in contents]
    for group in groups:
        if len({one.t for one in group.measured}) != 1 or not 0 <= group.measured[0].t <= 1:
            raise ValueError("a line is not of one t in [0, 1]")
        if [one.split for one in group.measured] != [one.split for one in groups[0].measured]:
            raise ValueError("its lines are of different splits")
    return groups
