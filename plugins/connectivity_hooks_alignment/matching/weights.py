"""Matching by weights alone: coordinate descent over the spaces (Ainsworth et al. 2023, algorithm 1, for every group).

Each step solves for one space exactly, with all others as they are, so that the distance never grows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import (
    Element,
    Elements,
    Member,
    Symmetries,
    Symmetry,
    apply,
    combined,
    folded,
    moved,
)
from connectivity_hooks_alignment.matching.units import Unit, solved, units_of

ENOUGH = 1e-9
"""Relative gain of the inner product over a sweep below which nothing moves any more but rounding."""


@dataclass(frozen=True, eq=False)
class Matched:
    """What was found.

    Attributes:
        elements: What is done to each space.
        product: Inner product of the folded weights that move, after; the larger, the nearer.
        sweeps: How often all spaces were gone over.
    """

    elements: dict[int, Element]
    product: float
    sweeps: int


def match_weights(
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    sweeps: int = 100,
    seed: int = 0,
    progress: Progress = SILENT,
    start: Elements | None = None,
) -> Matched:
    """Return the elements that bring `b` near to `a` in weight space.

    The first sweep goes from the fixed inputs and outputs inwards and reads only weights whose other axes are settled;
    later ones, and all of them from a start, go over the spaces in random order.

    Args:
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        sweeps: At most so many.
        seed: Of the order.
        progress: Shows how far it is.
        start: What is done to `b` to begin with, such as what was found from activations.
    """
    state = _State(symmetries, folded(symmetries, _double(symmetries, a)), folded(symmetries, _double(symmetries, b)))
    units = units_of(symmetries)
    generator = Generator().manual_seed(seed)
    if start is None:
        state.settle(units)
    else:
        state.begin(start)
    done, before = int(start is None), state.product()
    for _ in progress.track(range(done, sweeps), "matching weights", sweeps - done):
        for number in torch.randperm(len(units), generator=generator).tolist():
            state.improve(units[number])
        done, product = done + 1, state.product()
        if product - before <= ENOUGH * abs(before):
            break
        before = product
    return Matched(state.elements, state.product(), done)


def _double(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[name].double() for name in symmetries.shapes}


class _State:
    """The second checkpoint as it is moved, and what was done to it."""

    def __init__(self, symmetries: Symmetries, a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
        self._symmetries, self._a, self._b = symmetries, a, b
        self.elements: dict[int, Element] = {}

    def begin(self, start: Elements) -> None:
        """Begin with elements applied."""
        self._b, self.elements = moved(self._symmetries, self._b, start), dict(start)

    def settle(self, units: list[Unit]) -> None:
        """Solve for each unit once, those first whose weights have the most settled neighbours."""
        left, settled = list(units), set[int]()
        while left:
            unit = max(left, key=lambda each: self._anchored(each, settled))
            left.remove(unit)
            self.improve(unit, settled if self._anchored(unit, settled) else None)
            settled |= unit.spaces

    def improve(self, unit: Unit, settled: Collection[int] | None = None) -> None:
        """Solve for one unit; with `settled`, from weights that nothing else would still move."""

        def products(symmetry: Symmetry, pairs: bool) -> Tensor:
            return self._products(unit, symmetry, pairs, settled)

        step = solved(unit, products)
        for symmetry in (*unit.inside, unit.own):
            apply(symmetry, self._b, step[symmetry.space])
        self.elements = combined(self._symmetries, self.elements, step)

    def product(self) -> float:
        """Return the inner product of the weights that move."""
        return sum(float((self._a[name] * self._b[name]).sum()) for name in self._symmetries.moving)

    def _products(self, unit: Unit, symmetry: Symmetry, pairs: bool, settled: Collection[int] | None) -> Tensor:
        copies, width = symmetry.copies, symmetry.width
        shape = (copies, copies, width, width) if pairs else (copies, width, width)
        found = torch.zeros(shape, dtype=torch.float64)
        inside = {(m.weight, m.axis) for inner in unit.inside for m in inner.members} if symmetry is unit.own else set()
        for member in symmetry.members:
            if (member.weight, member.axis) in inside:
                continue
            if settled is not None and not self._is_settled(member, unit, settled):
                continue
            rows = member.matrices(self._a[member.weight]), member.matrices(self._b[member.weight])
            found += torch.einsum("xnm,ypm->xynp" if pairs else "xnm,xpm->xnp", *rows)
        return found

    def _anchored(self, unit: Unit, settled: Collection[int]) -> int:
        symmetries = (unit.own, *unit.inside)
        return sum(self._is_settled(member, unit, settled) for each in symmetries for member in each.members)

    def _is_settled(self, member: Member, unit: Unit, settled: Collection[int]) -> bool:
        """Say whether all other neurons in a weight are where they will stay."""
        moving = {each.space for each in self._symmetries.symmetries}
        layouts = self._symmetries.spaces.weights[member.weight]
        others = {leaf.space for layout in layouts for leaf in layout.leaves()} & moving - unit.spaces
        return len(layouts) > 1 and others <= set(settled)
