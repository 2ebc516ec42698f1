"""Spaces that are solved for together: heads, with what is inside them; every other space by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Group, Member, Symmetries, Symmetry
from connectivity_hooks_alignment.matching.nearest import assignment, gain, nearest


@dataclass(frozen=True, eq=False)
class Unit:
    """A space and the spaces whose copies its neurons number.

    Attributes:
        own: The space.
        inside: Those inside it; none for most.
    """

    own: Symmetry
    inside: tuple[Symmetry, ...] = ()

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """All of them, those inside first, which is the order in which they are applied."""
        return (*self.inside, self.own)

    @property
    def spaces(self) -> frozenset[int]:
        """Numbers of its spaces."""
        return frozenset(each.space for each in self.symmetries)

    @property
    def weights(self) -> frozenset[str]:
        """Names of the weights in which its neurons are."""
        return frozenset(member.weight for each in self.symmetries for member in each.members)


def units_of(symmetries: Symmetries) -> list[Unit]:
    """Return the units of a network, in the order in which its steps meet them."""
    units = [Unit(each, symmetries.inside(each.space)) for each in symmetries.symmetries]
    nested = {inner.space for unit in units for inner in unit.inside}
    return [unit for unit in units if unit.own.space not in nested]


def telling(unit: Unit, symmetry: Symmetry) -> list[Member]:
    """Return the weights that tell how a symmetry of a unit pairs neurons; those inside heads tell of what is inside.

    A weight tells if it moves as the neurons do: a folded γ does not turn, and what takes no factor has no sign.
    """
    inside = {(m.weight, m.axis) for inner in unit.inside for m in inner.members} if symmetry is unit.own else set()
    return [m for m in symmetry.members if _tells(symmetry, m) and (m.weight, m.axis) not in inside]


def _tells(symmetry: Symmetry, member: Member) -> bool:
    if symmetry.group & (Group.TURN | Group.TURN_BESIDE_ONES):
        return "scales" not in member.roles
    return member.takes_factors or Group.FLIP not in symmetry.group


Products: TypeAlias = Callable[[Symmetry, bool], Tensor]
"""Returns C of a symmetry: (K, n, n) of each copy with the same copy, or with True (K, K, n, n) of all pairs."""


def solved(unit: Unit, products: Products, pair: bool = True) -> dict[int, Element]:
    """Return the nearest elements of a unit's groups, to be applied those inside first.

    Args:
        unit: The unit.
        products: Of its symmetries.
        pair: Whether heads are paired anew, by how well what is inside them can be brought together; else each stays
            where it is, which takes a heads-th of the time.
    """
    own = unit.own
    if not unit.inside:
        return {own.space: nearest(own.group, products(own, False))}
    if not pair:
        return {inner.space: nearest(inner.group, products(inner, False)) for inner in unit.inside}
    pairs = {inner.space: products(inner, True) for inner in unit.inside}
    scores = products(own, False)[0]
    for inner in unit.inside:
        scores = scores + gain(inner.group, pairs[inner.space])
    order = assignment(scores[None])
    found: dict[int, Element] = {own.space: Element(order=order)}
    back = torch.argsort(order[0])
    for inner in unit.inside:
        # Copy y of the second goes to the place of copy x of the first: the element for y pairs it with x.
        matched = pairs[inner.space][back, torch.arange(len(back))]
        found[inner.space] = nearest(inner.group, matched)
    return found
