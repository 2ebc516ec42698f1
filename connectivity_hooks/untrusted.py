"""What comes from disk or was typed, read through one guard: its faults are one line each, never a traceback.

Whoever reads something that this process did not make opens it with `open_regular`, `read_text` or `read_json`, and
makes sense of it inside ``with guarded(…)``. Linter rules forbid the ways around (``json.loads``, ``numpy.load``, …).
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from connectivity_hooks.errors import ConnectivityError, InputError, one_line

# Far above any report or configuration that we or a model library write, far below what fills a machine's memory.
LONGEST_TEXT = 100_000_000


@contextlib.contextmanager
def guarded(what: object, expected: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while `what` is read into one `InputError`.

    Errors of this package pass as they are, and so do interruptions. Everything else that code raises when it meets
    bytes it was not written for (RecursionError, MemoryError, a library's own exceptions and native panics) says that
    the thing is not what it should be, and no more than that.

    Args:
        what: The file, or the text as it was typed; the first words of the message.
        expected: What it should be, with its article, e.g. ``a path file``.
        remedy: What the person can do.

    Raises:
        InputError: ``WHAT: is not EXPECTED: REASON; REMEDY``.
    """
    try:
        yield
    except ConnectivityError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        advice = f"; {remedy}" if remedy else ""
        raise InputError(f"{what}: is not {expected}: {one_line(error, 200)}{advice}") from None


def open_regular(file: pathlib.Path) -> BinaryIO:
    """Open a regular file for reading; refuse folders, devices and pipes, which could block or never end.

    Raises:
        InputError: There is no such file, or it cannot be read.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{file}: cannot be read: {reason}; check the path") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{file}: is not a regular file; check the path")
    return os.fdopen(handle, "rb")


def read_text(file: pathlib.Path, expected: str, remedy: str = "", longest: int = LONGEST_TEXT) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        InputError: It cannot be read, is longer than `longest` bytes, or is no UTF-8.
    """
    with open_regular(file) as stream, guarded(file, expected, remedy):
        raw = stream.read(longest + 1)
        if len(raw) > longest:
            raise ValueError(f"it is longer than {longest} bytes")
        return raw.decode("utf-8")


def read_json(file: pathlib.Path, expected: str, remedy: str = "", longest: int = LONGEST_TEXT) -> Any:
    """Return the JSON value that a file holds.

    Raises:
        InputError: It cannot be read, is too long, or is no JSON.
    """
    text = read_text(file, expected, remedy, longest)
    with guarded(file, expected, remedy):
        return parse_json(text)


def parse_json(text: str, unique: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the JSON value of a text; to be called inside `guarded`, since it raises what the parser raises.

    Args:
        text: The text.
        unique: Makes an object of its pairs, where a name that stands twice matters.
    """
    return json.loads(text, object_pairs_hook=unique)
