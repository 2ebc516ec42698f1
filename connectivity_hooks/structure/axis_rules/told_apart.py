"""Axes that are made only to be taken apart: what the entries along them are, need not be the same neurons.

One linear map often gives queries, keys and values at once; a reshape makes an axis of length 3 of them, which is then
taken apart. What is inside a head of the queries has nothing to do with what is inside a head of the values.
"""

from __future__ import annotations

from collections.abc import Mapping

from connectivity_hooks.structure.program import Program, Step

_COPIES = ("aten.contiguous", "aten.clone")
_OF_LENGTH_ONE = ("aten.squeeze", "aten.unsqueeze")
_MOVES = ("aten.permute", "aten.transpose", *_COPIES, *_OF_LENGTH_ONE)
_RESHAPES = ("aten.view", "aten.reshape", "aten.unflatten", "aten._unsafe_view")


def told_apart(program: Program) -> dict[str, int]:
    """Return for each reshape whose value is taken apart along a new axis before all else, that axis."""
    readers: dict[str, list[Step]] = {}
    for step in program.steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    found = {}
    for step in program.steps:
        if step.operation in _RESHAPES and isinstance(step.whole_shape, tuple) and step.inputs:
            axis = _taken_apart(step, readers)
            if axis is not None and _is_new(program, step, axis):
                found[step.name] = axis
    return found


def _is_new(program: Program, step: Step, axis: int) -> bool:
    """Say whether a reshape cuts the axis from the front of one that was there: what is before is as it was."""
    shapes = {other.name: other.whole_shape for other in program.steps}
    before = shapes.get(step.inputs[0]) or (program.batch, *program.shapes.get(step.inputs[0], ()))
    after = step.whole_shape or ()
    return 0 < axis < len(after) - 1 and tuple(before[:axis]) == tuple(after[:axis]) and len(before) > axis


def _taken_apart(step: Step, readers: Mapping[str, list[Step]]) -> int | None:
    """Return the axis of a value along which all that reads it takes it apart; None where anything else is done."""
    rank = len(step.whole_shape or ())
    axes = {_axis(reader, rank, readers) for reader in readers.get(step.name, ())}
    return axes.pop() if len(axes) == 1 else None


def _axis(reader: Step, rank: int, readers: Mapping[str, list[Step]]) -> int | None:
    given = reader.arguments
    if reader.operation in ("aten.unbind", "aten.select"):
        dim = given.get("dim") or 0
        index = given.get("index", 0)
        return dim % rank if isinstance(index, int) and index >= 0 else None
    inner = _taken_apart(reader, readers) if reader.operation in _MOVES else None
    if inner is None or reader.operation in _COPIES:
        return inner
    if reader.operation in _OF_LENGTH_ONE:
        return _past_ones(reader, rank, inner)
    if reader.operation == "aten.permute":
        dims = given.get("dims") or ()
        axis: int = dims[inner] % rank
        return axis
    one, other = given["dim0"] % rank, given["dim1"] % rank
    return int({one: other, other: one}.get(inner, inner))


def _past_ones(reader: Step, rank: int, inner: int) -> int | None:
    """Return the axis of a value that is axis `inner` after an axis of length 1 came or went; None where it is that."""
    dim = reader.arguments.get("dim")
    if not isinstance(dim, int):
        return None
    if reader.operation == "aten.unsqueeze":
        at = dim % (rank + 1)
        return None if inner == at else inner - (inner > at)
    return inner + (inner >= dim % rank)
