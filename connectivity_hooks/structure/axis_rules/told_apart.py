"""Axes that are made only to be taken apart: what the entries along them are, need not be the same neurons.

One linear map often gives queries, keys and values at once; a reshape makes an axis of length 3 of them, which is then
taken apart. What is inside a head of the queries has nothing to do with what is inside a head of the values.
"""

from __future__ import annotations

from collections.abc import Mapping

from connectivity_hooks.structure.program import Program, Step

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
    inner = _taken_apart(reader, readers) if reader.operation in ("aten.permute", "aten.transpose") else None
    if inner is None:
        return None
    if reader.operation == "aten.permute":
        dims = given.get("dims") or ()
        axis: int = dims[inner] % rank
        return axis
    one, other = given["dim0"] % rank, given["dim1"] % rank
    return int({one: other, other: one}.get(inner, inner))
