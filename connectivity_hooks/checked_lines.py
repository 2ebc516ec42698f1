"""JSON lines, each after its checksum, appended to a file: a kill cuts short one line at most, and damage is seen."""

from __future__ import annotations

import json
import os
import pathlib
import zlib
from typing import Any

from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import parse_json


def line_of(content: Any, *, in_order: bool = False) -> str:
    """Return a line, its end included.

    Args:
        content: JSON-ready values.
        in_order: Keep the order of names, which is else that of the alphabet.
    """
    text = json.dumps(content, sort_keys=not in_order)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def content_of(line: str) -> Any:
    """Return what a line holds; raise `ValueError` where it does not have its checksum. Asked inside of `guarded`."""
    checksum, _, text = line.rstrip("\n").partition(" ")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        raise ValueError("a line does not have its checksum")
    return parse_json(text)


def opened(file: pathlib.Path) -> int:
    """Return a handle to append to a file, made if it is not there; a line that a kill cut short is ended.

    Raises:
        InputError: It cannot be written, or is a symbolic link.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}; choose another --out") from None
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        write(handle, "\n")
    return handle


def write(handle: int, text: str) -> None:
    """Write a text whole."""
    rest = text.encode()
    while rest:
        rest = rest[os.write(handle, rest) :]
