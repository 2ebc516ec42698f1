"""Products with a weight that was turned over first, as the linear maps that they are.

``x @ weight.T + bias`` is written in as many ways as there are libraries. Seen as ``linear`` its rows and columns have
their parts in the symmetries of both sides, and γ of a norm before it can be folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connectivity_hooks.structure.program import Operand, Program, Step

_PRODUCTS = {"aten.matmul": ("self", "other"), "aten.mm": ("self", "mat2"), "aten.addmm": ("mat1", "mat2")}


def with_plain_maps(program: Program) -> Program:
    """Return a program to reason about, not to run, in which products with a weight turned over are ``linear`` steps.

    Steps that turn a weight over stay where anything else reads them.
    """
    steps = {step.name: step for step in program.steps}
    found = tuple(_linear(step, steps) or step for step in program.steps)
    read = {name for step in found for name in step.inputs}
    kept = tuple(step for step in found if step.name in read or step is found[-1] or _turned(step) is None)
    return program if kept == program.steps else replace(program, steps=kept)


def _linear(step: Step, steps: Mapping[str, Step]) -> Step | None:
    """Return a product as a linear map; None for any other step."""
    names = _PRODUCTS.get(step.operation)
    if names is None or step.arguments.get("alpha", 1) != 1 or step.arguments.get("beta", 1) != 1:
        return None
    given, other = (step.arguments.get(name) for name in names)
    turned = steps.get(other.name) if isinstance(other, Operand) and other.source == "value" else None
    weight = _turned(turned) if turned is not None else None
    added = step.arguments.get("self") if step.operation == "aten.addmm" else None
    if weight is None or turned is None or not isinstance(given, Operand) or not _is_bias(added):
        return None
    arguments = {"input": given, "weight": weight, "bias": added}
    inputs = tuple(name for name in step.inputs if name != turned.name)
    names_of = {each.name: each.name for each in (weight, added) if isinstance(each, Operand)}
    return replace(step, operation="aten.linear", arguments=arguments, inputs=inputs, weights=names_of)


def _is_bias(operand: Any) -> bool:
    return operand is None or _is_weight(operand)


def _is_weight(operand: Any) -> bool:
    return isinstance(operand, Operand) and operand.source == "weight"


def _turned(step: Step) -> Operand | None:
    """Return the weight, a matrix, that a step turns over; None where it does anything else."""
    given, shape = step.arguments.get("self"), step.whole_shape or ()
    if not isinstance(given, Operand) or given.source != "weight" or len(shape) != 2:
        return None
    if step.operation in ("aten.t", "aten.numpy_T", "aten.mT"):
        return given
    one, other = step.arguments.get("dim0"), step.arguments.get("dim1")
    if step.operation == "aten.transpose" and isinstance(one, int) and isinstance(other, int):
        return given if one % 2 != other % 2 else None
    dims = step.arguments.get("dims") or ()
    return given if step.operation == "aten.permute" and [dim % 2 for dim in dims] == [1, 0] else None
