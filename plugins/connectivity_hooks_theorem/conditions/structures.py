"""Tensors inside what a module takes or returns: alone, or in tuples, lists, mappings and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with every tensor in it changed; what holds none is handed on as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return _with_items(value, {name: with_tensors(item, change) for name, item in value.items()})
    if isinstance(value, (tuple, list)):
        items = [with_tensors(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(found, field.name, with_tensors(getattr(value, field.name), change))
        return found
    return value


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors in `value`, in order."""
    found: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    with_tensors(value, noted)
    return found


def _with_items(value: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    found: Any = copy.copy(value)
    for name, item in items.items():
        found[name] = item
    return found
