"""Spaces that are solved for together: heads, with what is inside them; every other space by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Member, Symmetries, Symmetry
from connectivity_hooks_alignment.matching.nearest import assignment, gain, nearest

Rows: TypeAlias = Callable[[Symmetry, Member | None], tuple[Tensor, Tensor]]


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
    def spaces(self) -> frozenset[int]:
        """Numbers of its spaces."""
        return frozenset(each.space for each in (self.own, *self.inside))


def units_of(symmetries: Symmetries) -> list[Unit]:
    """Return the units of a network, in the order in which its steps meet them."""
    units = [Unit(each, symmetries.inside(each.space)) for each in symmetries.symmetries]
    nested = {inner.space for unit in units for inner in unit.inside}
    return [unit for unit in units if unit.own.space not in nested]


Products: TypeAlias = Callable[[Symmetry, bool], Tensor]
"""Returns C of a symmetry: (K, n, n) of each copy with the same copy, or with True (K, K, n, n) of all pairs."""


def solved(unit: Unit, products: Products) -> dict[int, Element]:
    """Return the nearest elements of a unit's groups, to be applied those inside first.

    Heads are paired by how well what is inside them can be brought together.
    """
    own = unit.own
    if not unit.inside:
        return {own.space: nearest(own.group, products(own, False))}
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
