"""Arguments as a person gives them in Python, told apart from what they cannot be in one line."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

from connectivity_hooks.errors import UsageError


def require_list(name: str, value: object, of: str) -> None:
    """Refuse one thing in place of several, a text or path too; raise `UsageError`."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise UsageError(f"{name}: expected a list of {of}, found {value!r}")


def require_number(name: str, value: object) -> None:
    """Refuse what is neither None nor a number; raise `UsageError`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise UsageError(f"{name}: expected a number, found {value!r}")


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or is below the least; raise `UsageError`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise UsageError(f"{name}: expected a whole number of {least} or more, found {value!r}")
