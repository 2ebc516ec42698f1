"""Which weights take part where neurons are multiplied by numbers, in a network with batch norm.

A factor on what a batch norm reads is taken away by it (but for ε), so that nothing before the norm may change; behind
it γ and β make the factor, and readers take it back. So the values of one space fall into classes, which norms and maps
separate; a class that a batch norm reads keeps its size.
"""

from __future__ import annotations

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.uses import Flow, Use

_MAPS = ("linear", "conv", "matmul", "bmm", "mm", "mv", "addmm", "baddbmm", "einsum")
_BATCH_NORM = "aten.batch_norm"


def unscaled_axes(flow: Flow, space: int) -> set[tuple[str, int]] | None:
    """Return the axes (weight, number) that take no factors; None where a norm reads what it makes, so that none may.

    Axes of weights that make values, or read them, that a batch norm reads.
    """
    classes = _Classes()
    for step in flow.program.steps:
        _join(classes, Use(flow, step, space))
    still = {classes.of(step.inputs[0]) for step in flow.program.steps if _normalises(flow, step, space)}
    if any(classes.of(step.name) in still for step in flow.program.steps if _normalises(flow, step, space)):
        return None
    found: set[tuple[str, int]] = set()
    for step in flow.program.steps:
        use = Use(flow, step, space)
        for argument, operand in use.operands():
            if operand.source == "weight":
                for axis in use.axes(operand):
                    if classes.of(_value_of(use, argument, operand, axis)) in still:
                        found.add((operand.name, axis))
    return found


def _normalises(flow: Flow, step: Step, space: int) -> bool:
    return step.operation == _BATCH_NORM and bool(Use(flow, step, space).given)


def _is_map(step: Step) -> bool:
    return step.operation.removeprefix("aten.").startswith(_MAPS)


def _join(classes: _Classes, use: Use) -> None:
    """Let what a step gives be of the class of what it reads, unless it is a map or a batch norm."""
    if _is_map(use.step) or use.step.operation == _BATCH_NORM:
        return
    for _, operand in use.holders():
        classes.join(_key(operand), use.step.name)


def _value_of(use: Use, argument: str, operand: Operand, axis: int) -> str:
    """Return the value whose neurons an axis of a weight makes, or reads."""
    if _is_map(use.step) and argument == "weight" and axis == _columns(use, operand):
        return use.step.inputs[0] if use.step.inputs else use.step.name
    return use.step.name


def _columns(use: Use, operand: Operand) -> int:
    if use.step.operation.startswith("aten.conv_transpose"):
        return 0
    return use.rank(operand) - 1 if use.step.operation == "aten.linear" else 1


def _key(operand: Operand) -> str:
    return f"weight {operand.name}" if operand.source == "weight" else operand.name


class _Classes:
    """Values that are multiplied together."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def of(self, value: str) -> str:
        while value in self._of:
            value = self._of[value]
        return value

    def join(self, one: str, other: str) -> None:
        first, second = self.of(one), self.of(other)
        if first != second:
            self._of[first] = second
