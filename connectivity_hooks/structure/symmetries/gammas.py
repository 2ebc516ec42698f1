"""Which weights a step scales neurons by: γ and β of a norm, or γ of a product, also where it is stored as γ − 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.uses import Flow, Use

NORMS = ("aten.layer_norm", "aten.rms_norm", "aten.group_norm")
_PASSING = (
    "to", "_to_copy", "float", "double", "half", "type_as", "clone", "contiguous", "alias", "detach", "unsqueeze",
    "view", "reshape",
)  # fmt: skip
"""Casts, and views that put a weight beside the axes of a value."""


@dataclass(frozen=True)
class Gamma:
    """The weights by which a step scales neurons.

    Attributes:
        scale: Name of the weight that γ is made of.
        shift: Name of β; None where there is none.
        added: What the model adds to the weight before it multiplies, as Gemma's norms add 1.
        steps: Names of the steps that make γ of the weight.
    """

    scale: str
    shift: str | None = None
    added: float = 0.0
    steps: frozenset[str] = frozenset()


def gamma_of(flow: Flow, step: Step) -> Gamma | None:
    """Return γ and β of a norm over neurons, or of a product of a value with a weight; None for any other step."""
    if step.operation in NORMS:
        return _of_norm(*(_made(flow, step.arguments.get(name)) for name in ("weight", "bias")))
    if step.operation != "aten.mul":
        return None
    found = [_made(flow, step.arguments.get(name)) for name in ("self", "other")]
    gammas = [one for one in found if one is not None]
    values = [one for one in found if one is None]
    return gammas[0] if len(gammas) == len(values) == 1 and len(step.inputs) <= 2 else None


def _of_norm(weight: Gamma | None, bias: Gamma | None) -> Gamma | None:
    """Return γ and β of a norm, which may have been cast for it; None where a sum is in them that a norm has not."""
    if weight is None or (bias is not None and bias.added):
        return None
    steps = weight.steps | (bias.steps if bias is not None else frozenset())
    return Gamma(weight.scale, bias.scale if bias is not None else None, weight.added, steps)


def shift_after(flow: Flow, step: Step) -> tuple[str, str] | None:
    """Return β and the value it makes, where a weight is added to what a product scaled, and only there."""
    readers = flow.readers.get(step.name, ())
    if step.operation != "aten.mul" or len(readers) != 1 or step.name == flow.output:
        return None
    added, operands = readers[0], [readers[0].arguments.get(name) for name in ("self", "other")]
    if added.operation != "aten.add" or added.arguments.get("alpha", 1) != 1:
        return None
    shifts = [one for one in (_made(flow, operand) for operand in operands) if one is not None and not one.added]
    return (shifts[0].scale, added.name) if len(shifts) == 1 else None


def makes_gamma(use: Use) -> bool:
    """Say whether a step is on the way from a weight to the γ of a product: a cast, a view, or a sum with a number."""
    return gamma_made(use) is not None


def gamma_made(use: Use) -> Gamma | None:
    """Return the γ and β that a step is on the way to; None for any other step."""
    readers = use.flow.readers.get(use.step.name, ())
    if len(readers) != 1:
        return None
    gamma = gamma_of(use.flow, readers[0])
    if gamma is not None and use.step.name in gamma.steps:
        return gamma
    return gamma_made(Use(use.flow, readers[0], use.space))


def _made(flow: Flow, operand: Any) -> Gamma | None:
    """Return the γ that a factor is: a weight, cast or viewed, perhaps with a number added once; None for any other."""
    added, steps = 0.0, set[str]()
    while isinstance(operand, Operand) and operand.source == "value":
        step = flow.step(operand.name)
        if step is None or step.rounded or len(flow.readers.get(operand.name, ())) != 1 or operand.name == flow.output:
            return None
        steps.add(step.name)
        if step.operation == "aten.add" and not added:
            operand, added = _and_number(step)
        elif step.operation.removeprefix("aten.") in _PASSING:
            operand = step.arguments.get("self")
        else:
            return None
    name = _weight_name(operand)
    return Gamma(name, None, added, frozenset(steps)) if name else None


def _and_number(step: Step) -> tuple[Any, float]:
    """Return the tensor and the number of a sum of both; nothing for any other sum."""
    one, other = step.arguments.get("self"), step.arguments.get("other")
    if not isinstance(one, Operand):
        one, other = other, one
    plain = isinstance(other, (int, float)) and step.arguments.get("alpha", 1) == 1
    return (one, float(other)) if plain else (None, 0.0)  # type: ignore[arg-type]


def _weight_name(operand: Any) -> str | None:
    return operand.name if isinstance(operand, Operand) and operand.source == "weight" else None
