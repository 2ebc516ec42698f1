"""Dataclasses of ours made again of what a file holds: the fields by name, each of its declared type, or a refusal."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeAlias

Table: TypeAlias = Mapping[str, Any]
"""A JSON object, whatever it holds."""

_SEQUENCES = (list, tuple, collections.abc.Sequence)


def typed(kind: Any, value: object, place: str = "") -> Any:
    """Return `value`, as JSON holds it, as a `kind`; to be called inside `untrusted.guarded`.

    Args:
        kind: A dataclass, a plain type, ``Literal``, a union, or a mapping, sequence or tuple of such.
        value: What the file holds: a table for a dataclass, a list for a tuple, a whole number for a float.
        place: Where it stands, for the message.

    Raises:
        ValueError: A field is missing or unknown, or something is of another type.
        OverflowError: A whole number is too large for the float it should be.
    """
    return _typed(kind, value, place)


def _typed(kind: Any, value: Any, place: str) -> Any:
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, place)
    if origin in (typing.Union, types.UnionType):
        return None if value is None and type(None) in arguments else _typed(arguments[0], value, place)
    if origin is typing.Literal:
        return value if isinstance(value, str) and value in arguments else _refuse(" or ".join(arguments), value, place)
    if origin is collections.abc.Mapping:
        table = value if isinstance(value, dict) else _refuse("a table", value, place)
        return {name: _typed(arguments[1], item, f"{place}.{name}") for name, item in table.items()}
    if origin in _SEQUENCES:
        return _several(arguments, value, place)
    return _plain(kind, value, place)


def _record(kind: Any, value: Any, place: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or value.keys() != hints.keys():
        _refuse(f"the fields {', '.join(hints)}", value, place)
    return kind(**{name: _typed(hint, value[name], f"{place}.{name}") for name, hint in hints.items()})


def _several(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    items = value if isinstance(value, (list, tuple)) else _refuse("a list", value, place)
    kinds = [arguments[0]] * len(items) if len(arguments) == 1 or arguments[1] is ... else list(arguments)
    if len(kinds) != len(items):
        _refuse(f"{len(kinds)} items", value, place)
    return tuple(_typed(kind, item, f"{place}.{i}") for i, (kind, item) in enumerate(zip(kinds, items, strict=True)))


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind is float and type(value) in (int, float):
        return float(value)
    return value if type(value) is kind else _refuse(kind.__name__, value, place)


def _refuse(expected: str, value: Any, place: str) -> Any:
    found = ", ".join(map(str, list(value)[:20])) if isinstance(value, dict) else repr(value)[:80]
    raise ValueError(f"{place.lstrip('.') or 'it'}: expected {expected}, found {found}")


@functools.lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
