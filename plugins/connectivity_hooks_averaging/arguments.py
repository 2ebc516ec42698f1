"""Arguments of the functions in Python: what is of the wrong kind is refused in a line, before anything is read."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence

from connectivity_hooks.errors import UsageError

_LARGEST = 2**63 - 1


def require_whole(what: str, value: object, least: int = -_LARGEST, most: int = _LARGEST) -> None:
    """Refuse what is no whole number from `least` to `most`.

    Args:
        what: Whose argument it is and which, as the first words of the message.
        value: What was given.
        least: The least.
        most: The most.

    Raises:
        UsageError: It is another.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        bounds = "" if (least, most) == (-_LARGEST, _LARGEST) else f" from {least} to {most}"
        raise UsageError(f"{what}: expected a whole number{bounds}, found {value!r}")


def require_number(what: str, value: object, least: float, most: float, *, inside: bool = False) -> None:
    """Refuse what is no number from `least` to `most`; of `inside`, at neither of them. See `require_whole`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not least <= float(value) <= most or (inside and float(value) in (least, most)):  # type: ignore[arg-type]
        raise UsageError(
            f"{what}: expected a number {'between' if inside else 'from'} {least:g} {'and' if inside else 'to'} "
            f"{most:g}, found {value!r}"
        )


def require_file(what: str, value: object) -> None:
    """Refuse what is no file's name, a list of some for one. See `require_whole`."""
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{what}: expected a file or folder, found {value!r:.80}")


def require_files(what: str, values: object) -> None:
    """Refuse what is no list of files' names: a single name is read letter by letter else. See `require_whole`."""
    if isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Sequence):
        raise UsageError(f"{what}: expected a list of files, found {values!r:.80}")
    for each in values:
        require_file(what, each)
