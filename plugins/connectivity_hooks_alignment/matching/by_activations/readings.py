"""Which values of a network show what its neurons do: those that maps and products read.

A map reads a value as the neurons of the space are moved: after the activation, after a norm whose γ and β are folded
into the map, queries and keys where they meet, values before attention averages them and after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from connectivity_hooks.structure import Group, Held, Program, Symmetries, Symmetry, held
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
        groups: The space whose neurons number groups of them in this value, as in a grouped convolution, whose groups
            are exchanged as wholes; None where they are by themselves.
    """

    symmetry: Symmetry
    value: str
    held: Held
    pairs: bool
    groups: int | None = None


def readings_of(program: Program, symmetries: Symmetries) -> list[Reading]:
    """Return what is looked at; nothing for a space that no value holds along a single axis.

    Of a space that no map reads by itself, as a key that several queries share, the last value that holds it so. Heads
    are also looked at by themselves, in values whose entries inside a head stay where they are, as rotary embeddings
    let them. Values that do not depend on the inputs, such as weights that are standardised or tokens of the model's
    own, show nothing.
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
    own = {symmetry.space, unit.own.space}
    found = {}
    for name in alive:
        others = [space for space in _moving(symmetries, name) if space not in own]
        groups = (
            others[0] if len(others) == 1 and not inside and _numbers(symmetries, name, others[0], symmetry) else None
        )
        if others and groups is None:
            continue
        where = held(symmetries.spaces, name, symmetry if groups is None else replace(symmetry, outer=groups))
        if where is not None:
            found[name] = Reading(symmetry, name, where, inside or groups is not None, groups)
    chosen = [name for name in read if name in found]
    if not chosen and (inside or not unit.inside):
        chosen = list(found)[-1:]
    return [found[name] for name in chosen]


def _moving(symmetries: Symmetries, value: str) -> list[int]:
    """Return the spaces that move among those along a value's axes, the slowest first."""
    moving = {each.space for each in symmetries.symmetries}
    leaves = [leaf.space for layout in symmetries.spaces.values.get(value, ()) for leaf in layout.leaves()]
    return [space for space in dict.fromkeys(leaves) if space in moving]


def _numbers(symmetries: Symmetries, value: str, groups: int, symmetry: Symmetry) -> bool:
    """Say whether neurons of a space number groups of those of a symmetry in a value; both are in one copy."""
    outer = symmetries.of(groups)
    if outer is None or outer.group & (Group.TURN | Group.TURN_BESIDE_ONES) or {outer.outer, symmetry.outer} != {None}:
        return False
    order = _moving(symmetries, value)
    return symmetry.space in order and order.index(groups) < order.index(symmetry.space)
