"""Which values of a network show what its neurons do: those that maps and products read.

A map reads a value as the neurons of the space are moved: after the activation, after a norm whose γ and β are folded
into the map, queries and keys where they meet, values before attention averages them and after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.structure import Held, Program, Symmetries, Symmetry, held
from connectivity_hooks_alignment.matching.units import Unit, units_of

_MAPS = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "bmm",
    "mm", "mv", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reading:
    """A value in which the neurons of a symmetry are looked at.

    Attributes:
        symmetry: The symmetry.
        value: Name of the value.
        held: Where in it the neurons are.
        pairs: Whether each copy of the one network is looked at beside every copy of the other, as heads are.
    """

    symmetry: Symmetry
    value: str
    held: Held
    pairs: bool


def readings_of(program: Program, symmetries: Symmetries) -> list[Reading]:
    """Return what is looked at; nothing for a space that no value holds along a single axis.

    Of a space that no map reads, the last value that holds it. Heads are also looked at by themselves, in values whose
    entries inside a head stay where they are, as rotary embeddings let them. Values that do not depend on the inputs,
    such as weights that are standardised or tokens of the model's own, show nothing.
    """
    alive = _of_inputs(program)
    maps = [step for step in program.steps if _is_map(step.operation)]
    read = dict.fromkeys(name for step in maps for name in step.inputs if name in alive)
    found = []
    for unit in units_of(symmetries):
        for symmetry in (unit.own, *unit.inside):
            found += _readings(symmetries, unit, symmetry, alive, list(read))
    return found


def _of_inputs(program: Program) -> list[str]:
    """Return the names of the values that depend on the inputs, in order."""
    found = dict.fromkeys(program.shapes)
    for step in program.steps:
        if any(name in found for name in step.inputs):
            found[step.name] = None
    return list(found)


def _is_map(operation: str) -> bool:
    return operation.removeprefix("aten.") in _MAPS


def _readings(
    symmetries: Symmetries, unit: Unit, symmetry: Symmetry, alive: list[str], read: list[str]
) -> list[Reading]:
    inside = symmetry is not unit.own
    others = [] if inside else [inner.space for inner in unit.inside]
    values = {
        name: where
        for name in alive
        if not any(_holds(symmetries, name, other) for other in others)
        and (where := held(symmetries.spaces, name, symmetry)) is not None
    }
    chosen = [name for name in read if name in values]
    if not chosen and not others:
        chosen = list(values)[-1:]
    return [Reading(symmetry, name, values[name], inside) for name in chosen]


def _holds(symmetries: Symmetries, value: str, space: int) -> bool:
    return any(leaf.space == space for layout in symmetries.spaces.values.get(value, ()) for leaf in layout.leaves())
