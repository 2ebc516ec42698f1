"""The one tensor a loss reads, picked from what a model returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor

from connectivity_hooks.errors import InputError

Pick: TypeAlias = "str | int | None"
"""Name or index of an entry of what a model returns; None takes what can only be meant."""

LOGITS = "logits"


def picked(returned: Any, pick: Pick = None) -> Tensor:
    """Return the outputs among what a model returned: a tensor, or an entry of a tuple, a mapping or a dataclass.

    Without a pick that is the tensor itself, the entry ``logits``, or the only tensor of floating numbers.

    Args:
        returned: What the model returned.
        pick: Name or index of an entry.

    Raises:
        InputError: No entry is meant, or the one named is missing or no tensor; the message names the choices.
    """
    if isinstance(returned, Tensor):
        if pick is not None:
            raise InputError(f"the model returns one tensor, and no entry {pick!r}; leave output= (--output) out")
        return returned
    entries = entries_of(returned)
    if not entries:
        raise InputError(f"the model returned a {type(returned).__name__} without tensors; expected the outputs in it")
    chosen = _key(entries) if pick is None else _name(returned, str(pick))
    if chosen not in entries:
        choices = ", ".join(entries)
        wanted = "say which are the outputs" if pick is None else f"it has no entry {pick!r} that is a tensor"
        kind = type(returned).__name__
        raise InputError(f"the model returns a {kind}; {wanted}: output= (--output) takes one of {choices}")
    return entries[chosen]


def choice(returned: Any, pick: Pick = None) -> str | None:
    """Return in words which outputs `picked` takes where nobody said so and there were several to take, else None."""
    entries = {} if isinstance(returned, Tensor) else entries_of(returned)
    floating = [name for name, value in entries.items() if value.is_floating_point()]
    if pick is not None or len(floating) < 2:
        return None
    taken = f"{_key(entries)!r} is taken for its outputs"
    return f"the model returns {', '.join(entries)}: {taken}; output= (--output) says otherwise"


def entries_of(returned: Any) -> dict[str, Tensor]:
    """Return the tensors among what a model returned by name, or by index where they have none."""
    if isinstance(returned, Mapping):
        named = dict(returned.items())
    elif dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        named = {field.name: getattr(returned, field.name) for field in dataclasses.fields(returned)}
    elif isinstance(returned, tuple) and hasattr(returned, "_fields"):
        named = dict(zip(returned._fields, returned, strict=True))
    elif isinstance(returned, (tuple, list)):
        named = dict(enumerate(returned))
    else:
        named = {}
    return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}


def _name(returned: Any, pick: str) -> str:
    """Return the name of an entry; those of a named tuple may be counted as well."""
    fields: tuple[str, ...] = getattr(returned, "_fields", ())
    return fields[int(pick)] if pick.isdecimal() and int(pick) < len(fields) else pick


def _key(entries: Mapping[str, Tensor]) -> str:
    """Return the name of the entry that can only be meant; empty where several can."""
    if LOGITS in entries:
        return LOGITS
    floating = [name for name, value in entries.items() if value.is_floating_point()]
    return floating[0] if len(floating) == 1 else ""
