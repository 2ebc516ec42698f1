"""Coordinate descent over the spaces of a network, from one start."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from connectivity_hooks.structure import Element, Member, Symmetries, Symmetry
from connectivity_hooks_alignment.matching.by_weights.ends import Ends
from connectivity_hooks_alignment.matching.units import Products, Unit, solved, telling, units_of

ENOUGH = 1e-6
"""Of the squared distance that is left: a sweep that lowers it by less is the last. Rotations go on lowering it by ever
less; with 1e-5 the barriers of small vision transformers were a tenth higher."""


@dataclass(frozen=True, eq=False)
class Descended:
    """Where a descent ended.

    Attributes:
        elements: What was done to each space.
        sweeps: How often all spaces were gone over.
        converged: Whether nothing moved any more.
    """

    elements: dict[int, Element]
    sweeps: int
    converged: bool


def descended(
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    make_b: Callable[[], dict[str, Tensor]],
    *,
    sweeps: Iterable[int],
    generator: Generator,
    first: Literal["anchored", "drawn"] | None = "anchored",
) -> Descended:
    """Return what brings one working copy nearest to another, as far as one start finds.

    Args:
        symmetries: The network's.
        a: Working copy of the first checkpoint.
        make_b: Makes that of the second; called again where the sweeps start from the checkpoint as it is.
        sweeps: Their numbers, at most so many.
        generator: For the order in which the sweeps solve.
        first: How the first pass goes, which reads only weights whose other axes are settled: from the spaces with the
            most settled neighbours, or drawn among those that have one. None: there is none.
    """
    ends = Ends(symmetries, a, make_b())
    before = ends.squared_distance()
    if first is not None:
        _settle(symmetries, ends, generator if first == "drawn" else None)
    if ends.squared_distance() > before:
        del ends  # of two copies of the second checkpoint one is enough
        ends = Ends(symmetries, a, make_b())
    return _swept(_Descent(symmetries, ends), sweeps, generator)


def _swept(descent: _Descent, sweeps: Iterable[int], generator: Generator) -> Descended:
    ends, done = descent.ends, 0
    before = ends.squared_distance()
    for done, _ in enumerate(sweeps, 1):
        moved = descent.sweep(generator)
        distance = ends.squared_distance()
        if not moved or before - distance <= max(ENOUGH * distance, ends.rounding):
            return Descended(ends.elements, done, True)
        before = distance
    return Descended(ends.elements, done, False)


class _Descent:
    """Sweeps over the units of a network that solve only for what changed."""

    def __init__(self, symmetries: Symmetries, ends: Ends) -> None:
        self.ends, self._units = ends, units_of(symmetries)
        self._clock = 0
        self._solved: dict[Unit, int] = {}  # when each unit was solved for
        self._moved: dict[str, dict[Unit, int]] = {}  # when each weight was last moved by each unit
        self._stay: set[Unit] = set()  # units whose heads were seen to stay where they are

    def sweep(self, generator: Generator) -> bool:
        """Solve for every unit whose products changed, in random order, and say whether anything moved."""
        moved = False
        for number in torch.randperm(len(self._units), generator=generator).tolist():
            if self._is_stale(self._units[number]):
                moved |= self._improve(self._units[number])
        return moved

    def _is_stale(self, unit: Unit) -> bool:
        """Say whether another unit moved a weight of this one since this one was solved for."""
        if unit not in self._solved:
            return True
        others = (self._moved.get(name, {}) for name in unit.weights)
        return any(at > self._solved[unit] for times in others for other, at in times.items() if other is not unit)

    def _improve(self, unit: Unit) -> bool:
        step = solved(unit, lambda symmetry, pairs: _products(self.ends, unit, symmetry, pairs), unit not in self._stay)
        order = step[unit.own.space].order if unit.own.space in step else None
        if unit.inside and (order is None or torch.equal(order[0], torch.arange(len(order[0])))):
            self._stay.add(unit)
        moved = self.ends.move(unit.symmetries, step)
        self._clock += 1
        self._solved[unit] = self._clock
        if moved:
            for name in unit.weights:
                self._moved.setdefault(name, {})[unit] = self._clock
        return moved


def _products(
    ends: Ends, unit: Unit, symmetry: Symmetry, pairs: bool, uses: Callable[[Member], bool] = lambda member: True
) -> Tensor:
    """Return C of a symmetry in a unit; what is inside heads is left to the spaces inside."""
    return ends.products(symmetry, [member for member in telling(unit, symmetry) if uses(member)], pairs)


def _settle(symmetries: Symmetries, ends: Ends, generator: Generator | None) -> None:
    """Solve for each unit once, those first whose weights have the most settled neighbours; else in an order drawn."""
    moving = frozenset(each.space for each in symmetries.symmetries)
    left, settled = units_of(symmetries), set[int]()
    while left:
        anchors = [_anchored(symmetries, unit, moving - settled) for unit in left]
        unit = left.pop(_next(anchors, generator))
        loose = moving - settled if max(anchors) else frozenset[int]()
        ends.move(unit.symmetries, solved(unit, _anchored_products(symmetries, ends, unit, loose)))
        settled |= unit.spaces


def _anchored_products(symmetries: Symmetries, ends: Ends, unit: Unit, loose: Collection[int]) -> Products:
    """Return what gives products of weights alone whose other axes are not loose."""

    def uses(member: Member) -> bool:
        return not _others(symmetries, member) & set(loose)

    return lambda symmetry, pairs: _products(ends, unit, symmetry, pairs, uses)


def _next(anchors: list[int], generator: Generator | None) -> int:
    if generator is None:
        return anchors.index(max(anchors))
    possible = [number for number, count in enumerate(anchors) if count] or list(range(len(anchors)))
    return possible[int(torch.randint(len(possible), (), generator=generator))]


def _anchored(symmetries: Symmetries, unit: Unit, loose: Collection[int]) -> int:
    """Return how many of a unit's weights have other axes, none of which is still to be moved."""
    count = 0
    for symmetry in unit.symmetries:
        for member in symmetry.members:
            many = len(symmetries.spaces.weights[member.weight]) > 1
            count += many and not _others(symmetries, member) & set(loose)
    return count


def _others(symmetries: Symmetries, member: Member) -> set[int]:
    """Return the spaces along the other axes of a member's weight."""
    layouts = symmetries.spaces.weights[member.weight]
    others = (layout for axis, layout in enumerate(layouts) if axis != member.axis)
    return {leaf.space for layout in others for leaf in layout.leaves() if leaf.space is not None}
