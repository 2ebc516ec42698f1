"""Which weights take part where neurons are multiplied by numbers, in a network with batch norm.

A factor on what a batch norm reads is taken away by it (but for ε), so that nothing before the norm may change; behind
it γ and β make the factor, and readers take it back. So the values of one space fall into classes, which norms and maps
separate; a class that a batch norm reads keeps its size. A kernel of a depthwise convolution takes a factor where the
class before it has one and the class behind it has none, or the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.uses import Flow, Use

_MAPS = ("linear", "conv", "matmul", "bmm", "mm", "mv", "addmm", "baddbmm", "einsum")
_BATCH_NORM = "aten.batch_norm"


@dataclass(frozen=True)
class Factors:
    """Who takes factors of the neurons of a space.

    Attributes:
        none: Axes (weight, number) that take none, since a batch norm reads what they make, or read.
        kernels: What kernels of depthwise convolutions do, where they take any.
        allowed: Whether there can be factors at all: not where a batch norm's own value has to keep its size, nor where
            one kernel would have to take two.
    """

    none: set[tuple[str, int]] = field(default_factory=set)
    kernels: dict[tuple[str, int], Literal["reads", "writes"]] = field(default_factory=dict)
    allowed: bool = True


def factors_in(flow: Flow, space: int) -> Factors:
    """Return who takes factors of the neurons of a space."""
    classes, steps = _Classes(), flow.using.get(space, ())
    for step in steps:
        _join(classes, Use(flow, step, space))
    norms = [step for step in steps if _normalises(flow, step, space)]
    still = {classes.of(step.inputs[0]) for step in norms}
    if any(classes.of(step.name) in still for step in norms):
        return Factors(allowed=False)
    none: set[tuple[str, int]] = set()
    kernels: dict[tuple[str, int], set[Literal["reads", "writes"] | None]] = {}
    for step in steps:
        use = Use(flow, step, space)
        for argument, operand in use.operands():
            for axis in use.axes(operand) if operand.source == "weight" else ():
                if argument == "weight" and _is_depthwise(use, operand):
                    kernels.setdefault((operand.name, axis), set()).add(_of_kernel(classes, still, step))
                elif classes.of(_value_of(use, argument, operand, axis)) in still:
                    none.add((operand.name, axis))
    taken = {at: roles.copy().pop() for at, roles in kernels.items()}
    one_each = all(len(roles) == 1 for roles in kernels.values())
    return Factors(none, {at: role for at, role in taken.items() if role}, one_each)


def _is_depthwise(use: Use, weight: Operand) -> bool:
    shape = use.flow.program.weight_shapes.get(weight.name, ())
    return use.argument("groups", 1) > 1 and len(shape) > 1 and shape[0] == use.argument("groups") and shape[1] == 1


def _of_kernel(classes: _Classes, still: set[str], step: Step) -> Literal["reads", "writes"] | None:
    before, after = (classes.of(name) in still for name in (step.inputs[0], step.name))
    return None if before == after else "writes" if before else "reads"


def _normalises(flow: Flow, step: Step, space: int) -> bool:
    return step.operation == _BATCH_NORM and bool(Use(flow, step, space).given)


def _is_map(step: Step) -> bool:
    return step.operation.removeprefix("aten.").startswith(_MAPS)


def _join(classes: _Classes, use: Use) -> None:
    """Let what a step gives be of the class of what it reads, unless it is a map or a batch norm."""
    if _is_map(use.step) or use.step.operation == _BATCH_NORM:
        return
    for _, operand in use.operands() if use.step.operation == "getitem" else use.holders():  # of several tensors
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
