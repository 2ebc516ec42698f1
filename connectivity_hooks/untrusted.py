"""What comes from disk or was typed, read through one guard: its faults are one line each, never a traceback.

Whoever reads something that this process did not make opens it with `open_regular`, `read_text` or `read_json`, makes
sense of it inside ``with guarded(…)`` and, where it becomes objects of ours, by `records.typed`. What takes memory in
proportion to a number that stands in a file asks `memory.require_memory` first. Linter rules forbid the ways around
(``json.loads``, ``numpy.load``, …).
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pathlib
import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from connectivity_hooks.errors import ConnectivityError, InputError, one_line

# Far above any report or configuration that we or a model library write, far below what fills a machine's memory.
LONGEST_TEXT = 100_000_000
# Ours nest less than ten levels; far below what any later recursion over the value (writing, a page) can bear.
DEEPEST = 64
# A line that a person types is shorter; far below what Python's own parser can take without running out of stack.
LONGEST_LITERAL = 10_000

_HOLDERS = (dict, list, tuple, set)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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
        # A ValueError's words are a reader's own, made for a person; other kinds say more with their name.
        shown = InputError(str(error)) if type(error) is ValueError and str(error) else error
        raise InputError(f"{what}: is not {expected}: {one_line(shown, 200)}{advice}") from None


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

    Raises:
        ValueError: It is no JSON, nests deeper than `DEEPEST`, or holds half a character, which no file can hold.
    """
    value = json.loads(text, object_pairs_hook=unique)
    _check_depth(value)
    if _SURROGATE.search(text):  # escapes may make half a character; else the text's own decoding has seen to it
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def parse_literal(text: str) -> Any:
    """Return the Python literal that a person typed, or the text itself where it is none.

    Raises:
        ValueError: It is longer than `LONGEST_LITERAL` or nests deeper than `DEEPEST`.
        Exception: Python's parser gives up, as on ``{[]: 1}``.
    """
    if len(text) > LONGEST_LITERAL:
        raise ValueError(f"it is longer than {LONGEST_LITERAL} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on text that is no code
            value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    _check_depth(value)
    return value


def require_utf8(path: str | os.PathLike[str], what: str = "file") -> None:
    r"""Refuse a name that is not UTF-8: reports, path files and terminals could not hold it, after all the compute.

    Raises:
        InputError: The path has bytes that are no UTF-8; they are shown as ``\xff``.
    """
    raw = os.fsencode(path)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: the name of this {what} is not UTF-8; rename it") from None


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [item for holder in level for item in _items(holder) if type(item) in _HOLDERS]
        if not level:
            return
    raise ValueError(f"it nests deeper than {DEEPEST} levels")


def _items(holder: Any) -> Iterable[Any]:
    if type(holder) is dict:
        return (*holder, *holder.values())
    return holder if type(holder) in _HOLDERS else ()
