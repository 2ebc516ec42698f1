"""Scales of single neurons, as γ of a norm, and who can take them over.

A norm without γ and β passes rotations on; with them it does not. But where all that reads a norm's value are linear
maps, γ and β can be folded into these, the folded network rotated, and γ and β of any values taken out again: the
function is the same, and the module too (docs/alignment.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.structure.program import Operand
from connectivity_hooks.structure.symmetries.gammas import NORMS, Gamma, gamma_of, shift_after
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, ROTATIONS, Group, O, S
from connectivity_hooks.structure.symmetries.reading_maps import maps_reading
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
        added: What the model adds to the weight to get γ: 1 where it is stored as γ − 1.
    """

    space: int
    scale: str
    shift: str | None
    maps: tuple[str, ...]
    biases: tuple[str, ...] = ()
    added: float = 0.0


def survives_scale(use: Use) -> tuple[Group, Scale | None]:
    """Return what a norm, or a product with a weight, leaves of a group, and the scale that has to be folded for it.

    Signs and factors of single neurons pass a scale on as it is; whatever mixes neurons has to have it folded.
    """
    bare = _bare(use)
    gamma = gamma_of(use.flow, use.step)
    if not bare & ROTATIONS or not _has_gamma(use):
        return bare, None
    scale = _folded(use, gamma) if gamma else None
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
    value = use.operand("input")
    last = value is not None and use.axes(value) == (use.rank(value) - 1,)
    if not last or len(use.argument("normalized_shape", ())) != 1:
        return S
    return O1 if use.step.operation == "aten.layer_norm" else O


def _folded(use: Use, gamma: Gamma) -> Scale | None:
    """Return the maps that take a scale over; None where anything else reads what it scales."""
    flow, shapes = use.flow, use.flow.program.weight_shapes
    shift, value = shift_after(flow, use.step) or (gamma.shift, use.step.name)
    own = [name for name in (gamma.scale, shift) if name]
    alike = len({shapes[name] for name in own}) == 1 and all(use.axes(Operand("weight", name)) for name in own)
    maps = maps_reading(flow, value, use.space) if alike else None
    if not maps or not all(_alone(flow, name) for name in (*own, *(one.weight for one in maps))):
        return None
    biases = tuple(one.bias for one in maps)
    takes_shift = bool(shift) and all(biases)
    weights = tuple(one.weight for one in maps)
    return Scale(use.space, gamma.scale, shift, weights, biases if takes_shift else (), gamma.added)


def _alone(flow: Flow, weight: str) -> bool:
    """Say whether one step alone reads a weight, under one name."""
    return len(flow.users.get(weight, ())) == 1 and weight not in flow.tied
