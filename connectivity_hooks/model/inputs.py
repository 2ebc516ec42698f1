"""What a model is run on: one definition of a batch's inputs for the whole package.

Inputs are one tensor, a tuple of arguments, or a mapping of named ones; arguments may be nested, and may be no tensors
(flags, None). The first axis of every tensor counts the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError

Inputs: TypeAlias = Any
"""A tensor (N, …), a tuple of arguments, or a mapping of named ones; nested."""


def mapped(function: Callable[[Tensor], Any], inputs: Inputs) -> Inputs:
    """Apply a function to the tensors among a model's inputs."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {name: mapped(function, value) for name, value in inputs.items()}
    return tuple(mapped(function, value) for value in inputs) if isinstance(inputs, (tuple, list)) else inputs


def taken(inputs: Inputs, rows: slice | Tensor) -> Inputs:
    """Return some rows of every tensor among a model's inputs."""
    return mapped(lambda value: value[rows.to(value.device) if isinstance(rows, Tensor) else rows], inputs)


def placed(inputs: Inputs, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Inputs:
    """Return the inputs on a device, their floating tensors in a type; None leaves either as it is."""
    return mapped(lambda value: value.to(device, dtype if value.is_floating_point() else None), inputs)


def named_tensors(inputs: Inputs, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors among a model's inputs by dotted name; the name of one tensor alone is empty."""
    if isinstance(inputs, Tensor):
        yield name, inputs
        return
    entries = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs) if _in_a_row(inputs) else ()
    for key, value in entries:
        yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def rows_of(inputs: Inputs) -> int:
    """Return the number N of samples.

    Raises:
        InputError: There is no tensor, or they have not as many rows; the message gives each one's.
    """
    rows = {name: len(tensor) if tensor.ndim else None for name, tensor in named_tensors(inputs)}
    if len(set(rows.values())) != 1 or None in rows.values():
        found = ", ".join(f"{name or 'inputs'}: {count}" for name, count in rows.items()) or "no tensor"
        raise InputError(f"a batch's inputs have not one number of rows ({found}); the first axis counts the samples")
    return next(count for count in rows.values() if count is not None)


def concatenated(parts: Sequence[Inputs]) -> Inputs:
    """Return the rows of several batches' inputs, one after the other.

    Raises:
        InputError: They have not the same entries, or tensors of other shapes.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        for part in parts:
            if not isinstance(part, Tensor):
                raise InputError(f"batches have unequal entries: a Tensor and {_keys(part)}; expected the same")
        shapes = sorted({tuple(part.shape[1:]) for part in parts})
        if len(shapes) > 1:
            raise InputError(f"batches have samples of the shapes {', '.join(map(str, shapes[:4]))}; expected one")
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        for part in parts:
            if not isinstance(part, Mapping) or part.keys() != first.keys():
                raise InputError(f"batches have unequal entries: {_keys(first)} and {_keys(part)}; expected the same")
        return {name: concatenated([part[name] for part in parts]) for name in first}
    if not _in_a_row(first):
        return first
    if any(not _in_a_row(part) or len(part) != len(first) for part in parts):
        raise InputError("batches have unequal numbers of arguments; expected the same")
    return tuple(concatenated(column) for column in zip(*parts, strict=True))


def shapes_of(inputs: Inputs) -> str:
    """Return the shapes of the tensors without the axis of samples, for messages."""
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in named_tensors(inputs)}
    return str(shapes[""]) if shapes.keys() == {""} else ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _in_a_row(inputs: Inputs) -> bool:
    return isinstance(inputs, (tuple, list))


def _keys(part: Inputs) -> str:
    return ", ".join(sorted(map(str, part))) if isinstance(part, Mapping) else f"a {type(part).__name__}"
