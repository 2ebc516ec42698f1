"""Arguments of the functions in Python: what is of the wrong kind is refused in a line, before anything is read."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Sequence

from connectivity_hooks.errors import UsageError

_LARGEST = 2**63 - 1


def whole(what: str, value: object, least: int = -_LARGEST, most: int = _LARGEST) -> int:
    """Return a whole number from `least` to `most` as Python's own, one of numpy's too.

    Args:
        what: Whose argument it is and which, as the first words of the message.
        value: What was given.
        least: The least.
        most: The most.

    Raises:
        UsageError: It is no such number.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        bounds = "" if (least, most) == (-_LARGEST, _LARGEST) else f" from {least} to {most}"
        raise UsageError(f"{what}: expected a whole number{bounds}, found {value!r}")
    return int(value)


def number(what: str, value: object, least: float, most: float, *, inside: bool = False) -> float:
    """Return a number from `least` to `most`; of `inside`, at neither of them. See `whole`."""
    given = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not least <= given <= most or (inside and given in (least, most)):
        raise UsageError(
            f"{what}: expected a number {'between' if inside else 'from'} {least:g} {'and' if inside else 'to'} "
            f"{most:g}, found {value!r}"
        )
    return given


def above_zero(what: str, values: object) -> tuple[float, ...]:
    """Return finite numbers above 0, of a list of them. See `whole`."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UsageError(f"{what}: expected a list of numbers above 0, found {values!r:.80}")
    return tuple(number(what, value, 0, math.inf, inside=True) for value in values)


def require_file(what: str, value: object) -> None:
    """Refuse what is no file's name, a list of some for one. See `whole`."""
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{what}: expected a file or folder, found {value!r:.80}")


def require_files(what: str, values: object) -> None:
    """Refuse what is no list of files' names: a single name is read letter by letter else. See `whole`."""
    if isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Sequence):
        raise UsageError(f"{what}: expected a list of files or folders, found {values!r:.80}")
    for each in values:
        require_file(what, each)
