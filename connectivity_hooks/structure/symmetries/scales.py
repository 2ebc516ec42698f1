"""Scales of single neurons, as γ of a norm, and who can take them over.

A norm without γ and β passes rotations on; with them it does not. But where all that reads a norm's value are linear
maps, γ and β can be folded into these, the folded network rotated, and γ and β of any values taken out again: the
function is the same, and the module too (docs/alignment.md). A scale at the end of a branch, whose value is added to a
stream, is folded into the maps that write what it scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from connectivity_hooks.structure.program import Operand
from connectivity_hooks.structure.symmetries.gammas import NORMS, Gamma, gamma_of, shift_after
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, ROTATIONS, Group, O, S
from connectivity_hooks.structure.symmetries.positions import positions_in
from connectivity_hooks.structure.symmetries.reading_maps import maps_reading
from connectivity_hooks.structure.symmetries.uses import Flow, Use
from connectivity_hooks.structure.symmetries.writing_maps import parts_writing


@dataclass(frozen=True)
class Scale:
    """A scale γ, and perhaps a shift β, of the neurons of a space, and the maps that read what it scales.

    Attributes:
        space: Number of the space.
        scale: Name of γ.
        shift: Name of β; None where there is none.
        maps: Names of the weights whose columns take γ over; of rows and of biases, where those that write do.
        biases: Names of the biases that can take β over; empty where β has to be kept as a vector of the space.
        added: What the model adds to the weight to get γ: 1 where it is stored as γ − 1.
        side: Whether the maps read what is scaled, or write it, as before a scale at the end of a branch.
    """

    space: int
    scale: str
    shift: str | None
    maps: tuple[str, ...]
    biases: tuple[str, ...] = ()
    added: float = 0.0
    side: Literal["reads", "writes"] = "reads"


def survives_scale(use: Use) -> tuple[Group, Scale | None]:
    """Return what a norm, or a product with a weight, leaves of a group, and the scale that has to be folded for it.

    Signs and factors of single neurons pass a scale on as it is; whatever mixes neurons has to have it folded.
    """
    bare = _bare(use)
    gamma = gamma_of(use.flow, use.step)
    if not bare & ROTATIONS or not _has_gamma(use):
        return bare, None
    if gamma is None:  # it is computed, and moves in a way that nobody knows
        return S, None
    scale = _folded(use, gamma)
    return (bare, scale) if scale else (bare & MONOMIAL, None)


def _has_gamma(use: Use) -> bool:
    """Say whether a step scales neurons at all, by a weight or by what is made of one."""
    return use.step.operation == "aten.mul" or use.operand("weight") is not None


def is_scaling(use: Use) -> bool:
    """Say whether a step is a norm over the neurons, or multiplies them by a weight."""
    if use.step.operation in NORMS:
        return True
    return len(use.holders()) == 2 and gamma_of(use.flow, use.step) is not None


def _bare(use: Use) -> Group:
    """Return what the step leaves of a group without its γ and β."""
    if use.step.operation == "aten.mul":
        return GL
    if use.step.operation == "aten.group_norm":
        return O1 if use.given == (1,) and use.argument("num_groups") == 1 else S
    value = use.operand("input")
    last = value is not None and use.axes(value) == (use.rank(value) - 1,)
    if not last or len(use.argument("normalized_shape", ())) != 1:
        return S
    return O1 if use.step.operation == "aten.layer_norm" else O


def _folded(use: Use, gamma: Gamma) -> Scale | None:
    """Return the maps that take a scale over: all that read what it scales, or all that write it; None for neither."""
    return _into_readers(use, gamma) or _into_writers(use, gamma)


def _into_readers(use: Use, gamma: Gamma) -> Scale | None:
    flow, shapes = use.flow, use.flow.program.weight_shapes
    shift, value = shift_after(flow, use.step) or (gamma.shift, use.step.name)
    own = [name for name in (gamma.scale, shift) if name]
    alike = len({shapes[name] for name in own}) == 1 and all(use.axes(Operand("weight", name)) for name in own)
    maps = maps_reading(flow, value, use.space) if alike else None
    if not maps or not all(_alone(flow, name) for name in (*own, *(one.weight for one in maps))):
        return None
    if not all(_fits(use, gamma, one.weight) for one in maps):
        return None
    biases = tuple(one.bias if one.bias and _alone(flow, one.bias) else "" for one in maps)
    takes_shift = bool(shift) and all(biases)
    weights = tuple(one.weight for one in maps)
    return Scale(use.space, gamma.scale, shift, weights, biases if takes_shift else (), gamma.added)


def _into_writers(use: Use, gamma: Gamma) -> Scale | None:
    names = parts_writing(use) if use.step.operation == "aten.mul" else None
    if not names or not all(_alone(use.flow, name) for name in (gamma.scale, *names)):
        return None
    if not all(_fits(use, gamma, name) for name in names):
        return None
    return Scale(use.space, gamma.scale, None, names, added=gamma.added, side="writes")


def _fits(use: Use, gamma: Gamma, weight: str) -> bool:
    """Say whether a scale is one number for each neuron, or for each entry of an axis of a map, in its order."""
    layouts = [layout for layout in use.flow.spaces.weights[gamma.scale] if layout.width > 1]
    if len(layouts) != 1:  # others at each position
        return False
    return positions_in(layouts[0], use.space).shape[1] == 1 or layouts[0] in use.flow.spaces.weights[weight]


def _alone(flow: Flow, weight: str) -> bool:
    """Say whether one step alone reads a weight, under one name."""
    return len(flow.users.get(weight, ())) == 1 and weight not in flow.tied
