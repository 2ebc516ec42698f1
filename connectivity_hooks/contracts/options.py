"""Options of a method: a frozen dataclass whose fields carry default, help and bounds."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.budget import Budget
from connectivity_hooks.errors import UsageError, near_matches, one_line

_LONGEST_SHOWN = 80
# What torch takes as a size, a count or a seed.
LARGEST = 2**63 - 1
BUDGET = "budget"
"""What an option is called that says how long a method trains, see `connectivity_hooks.budget`."""
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def option(
    default: object,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[object, ...] | None = None,
) -> Any:
    """Declare one field of an ``Options`` dataclass.

    Args:
        default: Value when the user says nothing.
        help: One sentence for ``--help`` and the documentation.
        ge: Smallest value allowed.
        gt: Value that must be exceeded.
        le: Largest value allowed.
        lt: Value that must not be reached.
        choices: The values allowed, when they are few.
    """
    bounds = {"≥": ge, ">": gt, "≤": le, "<": lt}
    limits = {sign: bound for sign, bound in bounds.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"help": help, "limits": limits, "choices": choices})


@dataclasses.dataclass(frozen=True)
class OptionField:
    """One option as the command line and the documentation show it."""

    name: str
    kind: type
    optional: bool
    default: object
    help: str
    limits: Mapping[str, float]
    choices: tuple[object, ...] | None

    def parse(self, value: object, flag: str) -> object:
        """Return `value` in this option's type, within its bounds; raise `UsageError` naming `flag` if not."""
        if value is None or (self.optional and value == "none"):
            self._refuse_nothing(flag)
            return None
        converted = self._convert(value, flag)
        self._check(converted, flag)
        return converted

    def allowed(self) -> str:
        """Say in words which values are allowed, e.g. ``float > 0 ≤ 1``."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        limits = [f"{sign} {bound:g}" for sign, bound in self.limits.items()]
        return " ".join([self.kind.__name__, *limits, *(["or none"] if self.optional else [])])

    def _refuse_nothing(self, flag: str) -> None:
        if not self.optional:
            raise UsageError(f"{flag}: a value is needed, expected {self.allowed()}")

    def _convert(self, value: object, flag: str) -> object:
        try:
            if self.kind is bool:
                return value if isinstance(value, bool) else _WORDS[str(value).lower()]
            if isinstance(value, bool):
                raise ValueError
            if self.kind is int and isinstance(value, float) and not value.is_integer():
                raise ValueError
            if self.kind is str and not isinstance(value, (str, int, float, os.PathLike, Budget)):
                raise ValueError  # everything has a text, which is seldom meant
            converted = self.kind(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError(f"{flag}: expected {self.allowed()}, found {_shown(value)}") from None
        if (self.kind is float and not math.isfinite(converted)) or (self.kind is int and abs(converted) > LARGEST):
            raise UsageError(f"{flag}: expected {self.allowed()}, found {_shown(converted)}")
        return converted

    def _check(self, value: Any, flag: str) -> None:
        if self.choices and value not in self.choices:
            hint = near_matches(str(value), [str(choice) for choice in self.choices])
            raise UsageError(f"{flag}: expected {self.allowed()}, found {_shown(value)}; {hint}")
        met = {
            "≥": lambda bound: value >= bound,
            ">": lambda bound: value > bound,
            "≤": lambda bound: value <= bound,
            "<": lambda bound: value < bound,
        }
        if not all(met[sign](bound) for sign, bound in self.limits.items()):
            raise UsageError(f"{flag}: expected {self.allowed()}, found {_shown(value)}")


def option_fields(options_type: type) -> tuple[OptionField, ...]:
    """Return the options of a dataclass in order of declaration."""
    hints = typing.get_type_hints(options_type)
    return tuple(_describe(field, hints[field.name]) for field in dataclasses.fields(options_type))


def make_options(options_type: type, values: Mapping[str, object], owner: str) -> Any:
    """Build an ``Options`` instance from names and raw values; raise `UsageError` on any that do not fit.

    What the dataclass itself refuses, as it is made, is told under the flag: a message that begins with the name of an
    option and a colon gets ``--owner.`` before it.

    Args:
        options_type: The frozen dataclass of a method.
        values: Names to values, typed or as text from the command line.
        owner: The method's name, used in messages as ``--owner.field``.
    """
    fields = {field.name: field for field in option_fields(options_type)}
    for name in values:
        if name not in fields:
            raise UsageError(f"{owner} has no option {name!r}; {near_matches(name, fields)}")
    parsed = {name: fields[name].parse(value, f"--{owner}.{name}") for name, value in values.items()}
    try:
        return options_type(**parsed)
    except Exception as error:  # a stranger's checks may raise anything
        raise UsageError(_as_typed(one_line(error), fields, owner)) from error


def takes_budget(options_type: type) -> bool:
    """Say whether ``--budget`` speaks to a method: whether it has an option ``budget`` that is text."""
    return any(field.name == BUDGET and field.kind is str for field in option_fields(options_type))


def _as_typed(message: str, fields: Mapping[str, OptionField], owner: str) -> str:
    """Return a refusal with the flag it is about as a person types it, or with the method's name."""
    name, colon, rest = message.partition(": ")
    return f"--{owner}.{name.replace('_', '-')}: {rest}" if colon and name in fields else f"{owner}: {message}"


def _describe(field: dataclasses.Field[Any], hint: Any) -> OptionField:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)] if _is_union(hint) else [hint]
    if len(kinds) != 1 or kinds[0] not in (bool, int, float, str):
        raise TypeError(f"option {field.name!r} has type {hint}: expected bool, int, float, str, or one of them | None")
    return OptionField(
        name=field.name,
        kind=kinds[0],
        optional=_is_union(hint),
        default=field.default,
        help=field.metadata.get("help", ""),
        limits=field.metadata.get("limits", {}),
        choices=field.metadata.get("choices"),
    )


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number too long to write"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
