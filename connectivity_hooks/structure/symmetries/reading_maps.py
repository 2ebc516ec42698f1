"""The linear maps that read a value, however it is moved on the way: who can take over what it was scaled by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.effects import EFFECTS, everything, mean, stretched, survives
from connectivity_hooks.structure.symmetries.groups import GL
from connectivity_hooks.structure.symmetries.uses import Flow, Use


@dataclass(frozen=True)
class ReadingMap:
    """A linear map by a weight of the model.

    Attributes:
        weight: The weight's name; its columns read the neurons.
        bias: Name of its bias; empty where it has none, or where a shift of what it reads does not come to all its
            rows and positions alike.
    """

    weight: str
    bias: str = ""


@dataclass(frozen=True)
class _Arguments:
    """Names of a map's input, weight and bias among its arguments, and which axis of the weight are its columns."""

    given: str
    weight: str
    columns: int
    bias: str = ""


_CONVOLUTION = _Arguments("input", "weight", 1, "bias")
_MAPS: Mapping[str, _Arguments] = MappingProxyType(
    {
        "aten.linear": _Arguments("input", "weight", -1, "bias"),
        "aten.conv1d": _CONVOLUTION,
        "aten.conv2d": _CONVOLUTION,
        "aten.conv3d": _CONVOLUTION,
        "aten.addmm": _Arguments("mat1", "mat2", -2, "self"),
        "aten.mm": _Arguments("self", "mat2", -2),
        "aten.matmul": _Arguments("self", "other", -2),
    }
)


def maps_reading(flow: Flow, value: str, space: int, whole: bool = True) -> list[ReadingMap] | None:
    """Return the maps that read a value's neurons, moved or averaged at most; None if anything else does.

    Args:
        flow: The program.
        value: Name of the value.
        space: Number of the neurons' space.
        whole: Whether a shift of what is read there comes to every position.
    """
    if value == flow.output:
        return None
    found: dict[str, ReadingMap] = {}
    for step in flow.readers.get(value, ()):
        use = Use(flow, step, space)
        own = _map(use, value, whole)
        further = [own] if own else _further(use, whole)
        if further is None:
            return None
        found |= {one.weight: one for one in further}
    return list(found.values())


def _further(use: Use, whole: bool) -> list[ReadingMap] | None:
    """Return the maps that read what a step makes of a value; None where it does more than to move the neurons."""
    if not _passes(use):
        return None
    return maps_reading(use.flow, use.step.name, use.space, whole and _whole(use.step))


def _map(use: Use, value: str, whole: bool) -> ReadingMap | None:
    """Return a step as a map whose weight's columns read the neurons of a value; None for any other."""
    names = _MAPS.get(use.step.operation)
    if names is None:
        return None
    given, weight = use.operand(names.given), use.operand(names.weight)
    if given is None or given.name != value or weight is None or weight.source != "weight":
        return None
    rank = use.rank(weight)
    if rank < 2 or names.columns % rank not in use.axes(weight) or use.argument("groups", 1) != 1:
        return None
    return _with_bias(use, names, weight, whole)


def _with_bias(use: Use, names: _Arguments, weight: Operand, whole: bool) -> ReadingMap:
    """Return the map with its bias, where that can take a shift over."""
    bias = use.operand(names.bias) if names.bias else None
    usual = whole and _whole(use.step) and use.argument("alpha", 1) == 1 and use.argument("beta", 1) == 1
    can = usual and bias is not None and bias.source == "weight" and use.rank(bias) == 1
    return ReadingMap(weight.name, bias.name if can and bias is not None else "")


def _whole(step: Step) -> bool:
    """Say whether a shift of what a step reads is the same shift at every position of what it gives.

    Products along other axes mix positions, and zeros put beside the input are not shifted.
    """
    padding = step.arguments.get("padding", 0)
    entries = padding if isinstance(padding, (tuple, list)) else [padding]
    known = step.operation in _MAPS or EFFECTS.get(step.operation) in (everything, mean, stretched)
    return known and step.operation != "aten.sum" and not any(entries)


_OF_ONE_TYPE = ("aten.type_as", "aten.view_as", "aten.reshape_as", "aten.expand_as")


def _passes(use: Use) -> bool:
    """Say whether a step is linear in the neurons of one value, whatever it does along other axes."""
    holders = use.holders()[:1] if use.step.operation in _OF_ONE_TYPE else use.holders()
    one = len(holders) == 1 and holders[0][1].source == "value"
    return one and bool(use.out) and survives(use) == GL
