"""Many checkpoints in one frame: the elements that bring all of them near to each other at once.

Matching every pair by itself gives maps that do not agree: from A to B to C is not from A to C. Here each checkpoint
has one element for each space, that of the first does nothing, and the map between any two is made of theirs: the maps
agree by construction. What is made large is the sum of the inner products of all pairs, as in C²M³ (Crisostomi et al.
2024, equation 4); it is done one checkpoint and one space at a time, which for permutations is an assignment and for
rotations the generalised Procrustes problem, so that the sum never falls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Element, Symmetries, Symmetry, apply, combined, folded, moved
from connectivity_hooks_alignment.matching.by_weights.ends import inner_product, products_of
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights
from connectivity_hooks_alignment.matching.units import Unit, solved, telling, units_of

ENOUGH = 1e-9
"""Relative gain over a sweep below which only rounding moves."""


@dataclass(frozen=True, eq=False)
class Together:
    """What was found.

    Attributes:
        elements: For each checkpoint what is done to each space; nothing for the first.
        products: Sum of the inner products of all pairs of folded weights after each sweep.
    """

    elements: tuple[dict[int, Element], ...]
    products: tuple[float, ...]


def match_together(
    symmetries: Symmetries,
    checkpoints: Sequence[Mapping[str, Tensor]],
    *,
    sweeps: int = 50,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Together:
    """Return the elements that bring checkpoints near to each other, all into the frame of the first.

    Each begins where it is nearest to the first. Memory: the weights that move of all checkpoints in float64, and their
    sum. Time of a sweep: that of matching two, times the number of checkpoints.

    Args:
        symmetries: The network's.
        checkpoints: Weights of K ≥ 2 checkpoints.
        sweeps: At most so many.
        seed: Of the order of spaces.
        progress: Shows how far it is.
    """
    first = checkpoints[0]
    pairs = [match_weights(symmetries, first, other, seed=seed, progress=progress) for other in checkpoints[1:]]
    elements: list[dict[int, Element]] = [{}, *(dict(found.elements) for found in pairs)]
    state = _State(symmetries, checkpoints, elements)
    units, generator = units_of(symmetries), Generator().manual_seed(seed)
    products = [state.product()]
    if len(checkpoints) > 2:  # two are nearest already
        for _ in progress.track(range(sweeps), "matching together", sweeps):
            state.sweep(units, generator)
            products.append(state.product())
            if products[-1] - products[-2] <= ENOUGH * abs(products[-2]):
                break
    return Together(tuple(state.elements), tuple(products))


class _State:
    """All checkpoints as they are moved, and their sum."""

    def __init__(
        self, symmetries: Symmetries, checkpoints: Sequence[Mapping[str, Tensor]], elements: list[dict[int, Element]]
    ) -> None:
        self._symmetries, self.elements = symmetries, elements
        names = symmetries.moving
        self._now = [
            moved(symmetries, folded(symmetries, {name: each[name].double() for name in symmetries.shapes}), own)
            for each, own in zip(checkpoints, elements, strict=True)
        ]
        self._sum = {name: torch.stack([each[name] for each in self._now]).sum(0) for name in names}

    def sweep(self, units: Sequence[Unit], generator: Generator) -> None:
        """Solve once for every space of every checkpoint but the first."""
        for number in range(1, len(self._now)):
            others = {name: total - self._now[number][name] for name, total in self._sum.items()}
            for index in torch.randperm(len(units), generator=generator).tolist():
                self._improve(number, units[index], others)
            self._sum = {name: other + self._now[number][name] for name, other in others.items()}

    def product(self) -> float:
        """Return the sum of the inner products of all pairs."""
        alone = sum(float(each[name].square().sum()) for each in self._now for name in self._sum)
        return (sum(float(total.square().sum()) for total in self._sum.values()) - alone) / 2

    def _improve(self, number: int, unit: Unit, others: Mapping[str, Tensor]) -> None:
        """Solve for one space of one checkpoint; what makes the sum no larger is left as it was.

        Not every weight tells of its neurons' signs or rotations (`telling`), so that a step could cost the rest more
        than it gains.
        """
        before = self._now[number]

        def products(symmetry: Symmetry, pairs: bool) -> Tensor:
            return products_of(symmetry, telling(unit, symmetry), others, before, pairs)

        step, after = solved(unit, products), dict(before)
        for symmetry in unit.symmetries:
            apply(symmetry, after, step[symmetry.space])
        first, last = (sum(inner_product(others, each, unit.weights).values()) for each in (before, after))
        if last > first:
            self._now[number] = after
            self.elements[number] = combined(self._symmetries, self.elements[number], step)
