"""The linear maps that write a value, however it is moved on the way: who can take over what it is scaled by."""

from __future__ import annotations

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.effects import EFFECTS, everything, survives
from connectivity_hooks.structure.symmetries.groups import GL
from connectivity_hooks.structure.symmetries.uses import Use

_MAPS = ("aten.linear", "aten.conv1d", "aten.conv2d", "aten.conv3d")
_TOGETHER = ("cat", "concat", "concatenate", "stack", "index", "getitem", "embedding")


def parts_writing(use: Use) -> tuple[str, ...] | None:
    """Return the weights and biases whose rows make what a product scales; None if anything else has part in it.

    Args:
        use: A product of a value and a weight.
    """
    found: list[str] = []
    for name in use.step.inputs:
        if use.axes(Operand("value", name)):
            further = _parts(use, name, use.step)
            if further is None:
                return None
            found += further
    return tuple(dict.fromkeys(found))


def _parts(use: Use, value: str, reader: Step) -> list[str] | None:
    """Return the same for a value that nothing but `reader` reads: what is scaled for one is scaled for all."""
    step = use.flow.step(value)
    if step is None or [each.name for each in use.flow.readers[value]] != [reader.name]:
        return None
    inner = Use(use.flow, step, use.space)
    if step.operation in _MAPS:
        return _rows(inner)
    if not _hands_on(inner):
        return None
    found: list[str] = []
    for name in step.inputs:
        further = _parts(inner, name, step)
        if further is None:
            return None
        found += further
    return found


def _rows(use: Use) -> list[str] | None:
    weight, bias = use.operand("weight"), use.operand("bias")
    if weight is None or use.argument("groups", 1) != 1 or 0 not in use.axes(weight):
        return None
    parts = [part for part in (weight, bias) if part is not None]
    return [part.name for part in parts] if all(part.source == "weight" for part in parts) else None


def _hands_on(use: Use) -> bool:
    """Say whether a step moves the neurons of one value, or adds those of several, and does nothing else."""
    if use.step.weights or use.step.constants or not use.step.inputs:
        return False
    if use.step.operation == "aten.add":
        return EFFECTS["aten.add"](use) == GL
    one = len(use.step.inputs) == 1 and use.step.operation.removeprefix("aten.") not in _TOGETHER
    return one and EFFECTS.get(use.step.operation) is everything and survives(use) == GL
