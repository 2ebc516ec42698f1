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


_DEEPEST = 64
"""Arguments of real models are nested a few deep; Python itself gives up at some hundreds, with a traceback."""


def mapped(function: Callable[[Tensor], Any], inputs: Inputs) -> Inputs:
    """Apply a function to the tensors among a model's inputs.

    Raises:
        InputError: They are nested too deep, or hold themselves.
    """
    return _mapped(function, inputs, 0)


def _mapped(function: Callable[[Tensor], Any], inputs: Inputs, depth: int) -> Inputs:
    if isinstance(inputs, Tensor):
        return function(inputs)
    _require_depth(depth)
    if isinstance(inputs, Mapping):
        return {name: _mapped(function, value, depth + 1) for name, value in inputs.items()}
    return tuple(_mapped(function, value, depth + 1) for value in inputs) if _in_a_row(inputs) else inputs


def taken(inputs: Inputs, rows: slice | Tensor) -> Inputs:
    """Return some rows of every tensor among a model's inputs."""
    return mapped(lambda value: value[rows.to(value.device) if isinstance(rows, Tensor) else rows], inputs)


def placed(inputs: Inputs, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Inputs:
    """Return the inputs on a device, their floating tensors in a type; None leaves either as it is."""
    return mapped(lambda value: value.to(device, dtype if value.is_floating_point() else None), inputs)


def named_tensors(inputs: Inputs) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors among a model's inputs by dotted name; the name of one tensor alone is empty.

    Raises:
        InputError: They are nested too deep, or hold themselves.
    """
    yield from _named_tensors(inputs, "", 0)


def _named_tensors(inputs: Inputs, name: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(inputs, Tensor):
        yield name, inputs
        return
    _require_depth(depth)
    entries = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs) if _in_a_row(inputs) else ()
    for key, value in entries:
        yield from _named_tensors(value, f"{name}.{key}" if name else str(key), depth + 1)


def _require_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise InputError(f"inputs are nested more than {_DEEPEST} deep, or hold themselves; expected a few levels")


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
    return _concatenated(parts, 0)


def _concatenated(parts: Sequence[Inputs], depth: int) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        for part in parts:
            if not isinstance(part, Tensor):
                raise InputError(f"batches have unequal entries: a Tensor and {_keys(part)}; expected the same")
        shapes = sorted({tuple(part.shape[1:]) for part in parts})
        if len(shapes) > 1:
            raise InputError(f"batches have samples of the shapes {', '.join(map(str, shapes[:4]))}; expected one")
        return torch.cat(list(parts))
    _require_depth(depth)
    if isinstance(first, Mapping):
        for part in parts:
            if not isinstance(part, Mapping) or part.keys() != first.keys():
                raise InputError(f"batches have unequal entries: {_keys(first)} and {_keys(part)}; expected the same")
        return {name: _concatenated([part[name] for part in parts], depth + 1) for name in first}
    if not _in_a_row(first):
        return first
    if any(not _in_a_row(part) or len(part) != len(first) for part in parts):
        raise InputError("batches have unequal numbers of arguments; expected the same")
    return tuple(_concatenated(column, depth + 1) for column in zip(*parts, strict=True))


def shapes_of(inputs: Inputs) -> str:
    """Return the shapes of the tensors without the axis of samples, for messages."""
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in named_tensors(inputs)}
    return str(shapes[""]) if shapes.keys() == {""} else ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _in_a_row(inputs: Inputs) -> bool:
    return isinstance(inputs, (tuple, list))


def _keys(part: Inputs) -> str:
    return ", ".join(sorted(map(str, part))) if isinstance(part, Mapping) else f"a {type(part).__name__}"
