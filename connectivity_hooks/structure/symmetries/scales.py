"""Scales of single neurons, as γ of a norm, and who can take them over.

A norm without γ and β passes rotations on; with them it does not. But where all that reads a norm's value are linear
maps, γ and β can be folded into these, the folded network rotated, and γ and β of any values taken out again: the
function is the same, and the module too (docs/alignment.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.effects import EFFECTS, everything
from connectivity_hooks.structure.symmetries.groups import GL, O1, Group, O, S
from connectivity_hooks.structure.symmetries.uses import Flow, Use


@dataclass(frozen=True)
class Scale:
    """A scale γ, and perhaps a shift β, of the neurons of a space, and the maps that read what it scales.

    Attributes:
        space: Number of the space.
        scale: Name of γ.
        shift: Name of β; None where there is none.
        maps: Names of the weights whose columns take γ over.
        biases: Names of the biases that can take β over; empty where β has to be kept as a vector of the space.
    """

    space: int
    scale: str
    shift: str | None
    maps: tuple[str, ...]
    biases: tuple[str, ...] = ()


def scale_operands(step: Step) -> tuple[str, str | None] | None:
    """Return the names of γ and β of a step that scales neurons by weights; None for any other."""
    if step.operation in NORMS:
        weight, bias = step.arguments.get("weight"), step.arguments.get("bias")
        return (weight.name, _name(bias)) if isinstance(weight, Operand) and weight.source == "weight" else None
    if step.operation == "aten.mul":
        both = [step.arguments.get("self"), step.arguments.get("other")]
        weights = [one for one in both if isinstance(one, Operand) and one.source == "weight"]
        values = [one for one in both if isinstance(one, Operand) and one.source == "value"]
        return (weights[0].name, None) if len(weights) == len(values) == 1 else None
    return None


NORMS = ("aten.layer_norm", "aten.rms_norm")


def _name(operand: object) -> str | None:
    return operand.name if isinstance(operand, Operand) and operand.source == "weight" else None


def survives_scale(use: Use) -> tuple[Group, Scale | None]:
    """Return what a norm, or a product with a weight, leaves of a group, and the scale that has to be folded for it."""
    bare = _bare(use)
    names = scale_operands(use.step)
    if names is None:
        return bare, None
    if bare == S:
        return S, None
    scale = _folded(use, *names)
    return (bare, scale) if scale else (S, None)


def is_scaling(use: Use) -> bool:
    """Say whether a step is a norm over the neurons, or multiplies them by a weight."""
    if use.step.operation in NORMS:
        return True
    names = scale_operands(use.step)
    return names is not None and len(use.holders()) == 2


def _bare(use: Use) -> Group:
    """Return what the step leaves of a group without its γ and β."""
    if use.step.operation == "aten.mul":
        return GL
    value = use.operand("input")
    last = value is not None and use.axes(value) == (use.rank(value) - 1,)
    if not last or len(use.argument("normalized_shape", ())) != 1:
        return S
    return O1 if use.step.operation == "aten.layer_norm" else O


def _folded(use: Use, scale: str, shift: str | None) -> Scale | None:
    """Return the maps that take a scale over; None where anything else reads what it scales."""
    flow = use.flow
    own = [name for name in (scale, shift) if name]
    if any(len(flow.users.get(name, ())) != 1 or name in flow.tied for name in own):
        return None
    readers = maps_reading(flow, use.step.name, use.space)
    if not readers:
        return None
    weights = [_name(step.arguments.get("weight")) or "" for step in readers]
    if any(len(flow.users.get(name, ())) != 1 or name in flow.tied for name in weights):
        return None
    biases = [_name(step.arguments.get("bias")) or "" for step in readers]
    takes_shift = all(biases) and all(_plain(step) for step in readers)
    return Scale(use.space, scale, shift, tuple(weights), tuple(biases) if takes_shift and shift else ())


def _plain(step: Step) -> bool:
    """Say whether a shift before a map is the same at every position after it: no zeros are put beside its input."""
    padding = step.arguments.get("padding", 0)
    entries = padding if isinstance(padding, (tuple, list)) else [padding]
    return not any(entries)


_MAPS = ("aten.linear", "aten.conv1d", "aten.conv2d", "aten.conv3d")


def maps_reading(flow: Flow, value: str, space: int) -> list[Step] | None:
    """Return the maps that read a value's neurons, reordered and averaged at most; None if anything else does."""
    if value == flow.output:
        return None
    found: list[Step] = []
    for step in flow.readers.get(value, ()):
        use = Use(flow, step, space)
        if step.operation in _MAPS:
            if not _reads_columns(use, value):
                return None
            found.append(step)
        elif _passes(use):
            further = maps_reading(flow, step.name, space)
            if further is None:
                return None
            found += further
        else:
            return None
    return list({step.name: step for step in found}.values())


def _reads_columns(use: Use, value: str) -> bool:
    given, weight = use.operand("input"), use.operand("weight")
    if given is None or given.name != value or weight is None or weight.source != "weight":
        return False
    return use.argument("groups", 1) == 1 and 1 in use.axes(weight)


_TOGETHER = ("cat", "concat", "concatenate", "stack", "index")


def _passes(use: Use) -> bool:
    """Say whether a step hands the neurons on as they are, from one value alone."""
    operation = use.step.operation.removeprefix("aten.")
    if operation in _TOGETHER or len(use.step.inputs) > 1 or use.step.weights:
        return False
    if use.step.operation in ("aten.mean", "aten.sum"):
        return not set(use.given) & use.over()
    return EFFECTS.get(use.step.operation) is everything
