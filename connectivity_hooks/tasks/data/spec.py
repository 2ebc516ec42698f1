"""What a user types after ``--data``: a form, and options of ours after a question mark, as in ``d.npz?train=5000``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.errors import UsageError, near_matches
from connectivity_hooks.tasks.references import read_arguments

CAPS = ("train", "test", "seed")
"""Options of every form: how many samples of a split are taken, and the seed they are drawn with."""


@dataclass(frozen=True)
class DataSpec:
    """A parsed ``BODY?option=value&…``.

    Attributes:
        typed: All of it.
        body: What stands before the question mark; all of it where a file has that name.
        options: Values as Python literals, or text where they are none.
    """

    typed: str
    body: str
    options: Mapping[str, Any]

    def require_known(self, further: Collection[str] = ()) -> None:
        """Raise `UsageError` where an option is neither of every form nor one of `further`."""
        for name in self.options:
            if name not in CAPS and name not in further:
                raise UsageError(f"--data {self.typed}: no option {name!r}; {near_matches(name, (*CAPS, *further))}")

    def count(self, name: str, least: int = 1) -> int | None:
        """Return an option that is a whole number, None where it is not given; raise `UsageError` where it is none."""
        value = self.options.get(name)
        if value is None and name not in self.options:
            return None
        if type(value) is not int or value < least or value >= 2**63:
            raise UsageError(f"--data {self.typed}: {name} is {value!r}; expected a whole number from {least} on")
        return value

    def share(self, name: str) -> float | None:
        """Return an option between 0 and 1, None where it is not given; raise `UsageError` where it is none."""
        value = self.options.get(name)
        if value is None and name not in self.options:
            return None
        if type(value) is not float or not 0 < value < 1:
            raise UsageError(f"--data {self.typed}: {name} is {value!r}; expected a share between 0 and 1, such as 0.1")
        return value

    def text(self, name: str) -> str | None:
        """Return an option as it was typed, None where it is not given."""
        return str(self.options[name]) if name in self.options else None

    def without(self, names: Collection[str]) -> DataSpec:
        """Return the spec without some of its options."""
        return DataSpec(self.typed, self.body, {k: v for k, v in self.options.items() if k not in names})


def parse_data(typed: str) -> DataSpec:
    """Parse what a user types; raise `UsageError` where its options are none."""
    body, mark, query = typed.partition("?")
    if not mark or _exists(typed):
        return DataSpec(typed, typed, {})
    return DataSpec(typed, body, read_arguments(typed, query))


def parted_for(function: Callable[..., Any], spec: DataSpec) -> tuple[dict[str, Any], DataSpec]:
    """Return the arguments that are a callable's own, and the spec with those that are ours.

    What the callable takes is the callable's, by its name or as one of ``**kwargs``; ``train``, ``test`` and, beside
    one of these, ``seed`` that it does not take are ours. Any other goes to it, and fails there in its own words.
    """
    parameters = _parameters(function)
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    ours = [name for name in CAPS if name in spec.options and name not in parameters and not anything]
    if ours == ["seed"]:
        ours = []
    return {k: v for k, v in spec.options.items() if k not in ours}, DataSpec(
        spec.typed, spec.body, {name: spec.options[name] for name in ours}
    )


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of code that has none
        return {}


def _exists(name: str) -> bool:
    try:
        return os.path.lexists(name)
    except ValueError:  # a zero among its characters
        return False
