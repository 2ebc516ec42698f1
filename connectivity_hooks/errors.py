"""What the package raises when the fault lies in its input, and errors as a line for a person."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class ConnectivityError(Exception):
    """Base of every error this package raises on purpose; the message is one line for a person.

    It may quote names and text of any file: whatever would break the line, or move a terminal's cursor, is a space.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_CONTROL.sub(" ", str(message)))


class InputError(ConnectivityError):
    """A file, a data set or a model cannot be used as given; the command line exits with status 3."""


class UsageError(ConnectivityError):
    """An unknown name, an unknown option or an invalid value; the command line exits with status 2."""


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return the clause that names what may have been meant, e.g. ``did you mean 'linear'?``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "known: " + (", ".join(names) or "none")


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return an error as one line for a person: our own as they are, others with their kind, memory in words."""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "it needs more memory than there is"
    text = " ".join(str(error).split())
    words = text if isinstance(error, ConnectivityError) else f"{type(error).__name__}: {text}".removesuffix(": ")
    return words if len(words) <= longest else words[: longest - 1] + "…"
