"""The three standard descriptors: there when the program starts, ours alone while it prints JSON, quiet at its end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_own: list[TextIO] = []


def open_missing() -> None:
    """Open ``/dev/null`` where 0, 1 or 2 is closed: else the next file that is opened takes its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def silence() -> None:
    """Print nothing more: what could not be written is dropped, what code still prints at exit goes to stderr."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


class Muted:
    """stdout and stderr that can be closed to everything, code that prints from C included, and opened again."""

    def __init__(self) -> None:
        self._kept: tuple[int, int] | None = None

    def put(self) -> None:
        """Let nothing be seen from now on."""
        if self._kept is None:
            self._flush()
            self._kept = os.dup(1), os.dup(2)
            nothing = os.open(os.devnull, os.O_WRONLY)
            for number in (1, 2):
                os.dup2(nothing, number)
            os.close(nothing)

    def lift(self) -> None:
        """Let what is written from now on be seen."""
        if self._kept is not None:
            self._flush()
            for number, kept in zip((1, 2), self._kept, strict=True):
                os.dup2(kept, number)
                os.close(kept)
            self._kept = None

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


@contextlib.contextmanager
def stdout_kept() -> Iterator[None]:
    """Keep stdout for `write_result` in the block; whatever else is written to it goes to stderr.

    The descriptor is replaced as well as ``sys.stdout``: a user's own code may write by either, from Python or from C.
    """
    outer = sys.stdout
    _flush(outer)
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    other = sys.stdout
    own = open(os.dup(kept), "w", encoding="utf-8")  # noqa: SIM115
    _own.append(own)
    try:
        yield
        own.flush()
    finally:
        _own.remove(own)
        for stream in (other, own):
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        _flush(outer)
        sys.stdout = outer
        os.dup2(kept, 1)
        os.close(kept)


def write_result(text: str) -> None:
    """Write on stdout, also where it is kept."""
    (_own[-1] if _own else sys.stdout).write(text)


def _flush(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
