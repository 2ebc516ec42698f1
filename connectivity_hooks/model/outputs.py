"""The one tensor a loss reads, picked from what a model returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from connectivity_hooks.errors import InputError

Pick: TypeAlias = "str | int | None"
"""Name or index of an entry of what a model returns, dotted for one inside; None takes what can only be meant."""

LOGITS, OF_PAIRS = "logits", "logits_per_image"
"""What Transformers' models call their outputs; those of images and texts answer for both ways."""

LOSS = "loss"
"""The entry that holds a model's own loss, which is no output of it: it is taken for one where it is named."""

_DEEPEST = 4  # outputs of a model with several heads; deeper are caches, which no loss reads
_MOST = 20  # names in a message; hidden states of all layers are dozens


def picked(returned: Any, pick: Pick = None) -> Tensor:
    """Return the outputs among what a model returned: a tensor, or an entry of a tuple, a mapping or a dataclass.

    An entry of an entry is picked by its dotted name, ``heads.logits``. Without a pick that is the tensor itself, the
    entry ``logits`` or ``logits_per_image``, or the only tensor of floating numbers beside ``loss``.

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
    chosen = _key(entries, {str(name) for name in _parts(returned)}) if pick is None else _name(returned, str(pick))
    if chosen not in entries:
        wanted = "say which are the outputs" if pick is None else f"it has no entry {pick!r} that is a tensor"
        name = type(returned).__name__
        kind = f"an {name}" if name[0] in "AEIOaeio" else f"a {name}"
        raise InputError(
            f"the model returns {kind}; {wanted}: output= (--output) takes one of {_listed(_beside_loss(entries))}"
        )
    return entries[chosen]


def choice(returned: Any, pick: Pick = None) -> str | None:
    """Return in words which outputs `picked` takes where nobody said so and there were several to take, else None."""
    entries = {} if isinstance(returned, Tensor) else entries_of(returned)
    top = {str(name) for name in _parts(returned)}
    floating = [name for name, value in _beside_loss(entries).items() if name in top and value.is_floating_point()]
    if pick is not None or len(floating) < 2:
        return None
    taken = f"{_key(entries, top)!r} is taken for its outputs"
    return f"the model returns {_listed(floating)}: {taken}; output= (--output) says otherwise"


def entries_of(returned: Any) -> dict[str, Tensor]:
    """Return the tensors among what a model returned by name, or by index where they have none.

    Those of entries that hold others have dotted names, and come last.
    """
    found: dict[str, Tensor] = {}
    level, depth = [("", returned)], 0
    while level and depth < _DEEPEST:
        within = [
            (f"{before}.{name}" if before else str(name), value)
            for before, part in level
            for name, value in _parts(part).items()
        ]
        found |= {name: value for name, value in within if isinstance(value, Tensor) and name not in found}
        level, depth = [(name, value) for name, value in within if not isinstance(value, Tensor)], depth + 1
    return found


def _beside_loss(entries: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the entries but the model's own loss; that alone where there is nothing else."""
    return {name: value for name, value in entries.items() if name != LOSS} or entries


def _parts(returned: Any) -> dict[Any, Any]:
    """Return the entries of a mapping, a dataclass, a named tuple, a tuple or a list; none of anything else."""
    if isinstance(returned, Mapping):
        return dict(returned.items())
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        return {field.name: getattr(returned, field.name) for field in dataclasses.fields(returned)}
    if isinstance(returned, tuple) and hasattr(returned, "_fields"):
        return dict(zip(returned._fields, returned, strict=True))
    return dict(enumerate(returned)) if isinstance(returned, (tuple, list)) else {}


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_MOST]) + (f" and {len(shown) - _MOST} more" if len(shown) > _MOST else "")


def _name(returned: Any, pick: str) -> str:
    """Return the name of an entry; those of a named tuple may be counted as well."""
    fields: tuple[str, ...] = getattr(returned, "_fields", ())
    return fields[int(pick)] if pick.isdecimal() and int(pick) < len(fields) else pick


def _key(entries: Mapping[str, Tensor], top: set[str]) -> str:
    """Return the name of the entry that can only be meant; empty where several can.

    Tensors inside of other entries (hidden states, a cache) are meant only where there are none beside them.
    """
    for known in (LOGITS, OF_PAIRS):
        if known in entries:
            return known
    floating = [name for name, value in _beside_loss(entries).items() if value.is_floating_point()]
    outer = [name for name in floating if name in top]
    chosen = outer or floating
    return chosen[0] if len(chosen) == 1 else ""
