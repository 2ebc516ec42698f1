"""Which neurons hold what: two sides of every space, so that no neuron ever has to be moved.

Sub-network j of end e ∈ {0, 1} lives on side (j+e) mod 2 of every space. It never meets sub-network j+1, nor the other
end's sub-network 1 (arXiv 2102.09671). Of the features at its cut it reads that side too, or more: all that sub-network
j-1 does not live in, where it can have them (`Finder`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure import Space

Neurons: TypeAlias = Mapping[int, Tensor]
"""Some neurons of each space, ascending: those that a sub-network reads or lives in."""


@dataclass(frozen=True)
class Sides:
    """Two sides of every space, the same for both ends.

    Attributes:
        by_space: For each space the neurons of side 0 and of side 1, ascending; no neuron is on both but those of a
            whole space, some may be on neither.
    """

    by_space: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of(cls, spaces: Sequence[Space], orders: Sequence[Tensor]) -> Sides:
        """Put as many of each space's neurons on either side: the first in the given order on side 0, the last on 1.

        The one in the middle of an odd number is on none.
        """
        by_space = []
        for space, order in zip(spaces, orders, strict=True):
            each = space.width // 2
            sides = (order, order) if space.whole else (order[:each], order[-each:])
            by_space.append((sides[0].sort().values, sides[1].sort().values))
        return cls(tuple(by_space))

    def side(self, space: int, subnetwork: int, end: int) -> Tensor:
        """Return the neurons of a space that a sub-network of an end may live in."""
        return self.by_space[space][(subnetwork + end) % 2]

    def neurons(self, subnetwork: int, end: int) -> dict[int, Tensor]:
        """Return the neurons of every space that a sub-network of an end may live in."""
        return {space: self.side(space, subnetwork, end) for space in range(len(self.by_space))}


def random_orders(spaces: Sequence[Space], seed: int) -> list[Tensor]:
    """Return an order of the neurons of every space, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(space.width, generator=generator) for space in spaces]


def all_but(width: int, neurons: Tensor) -> Tensor:
    """Return the neurons of a space of `width` that are not among `neurons`."""
    left = torch.ones(width, dtype=torch.bool)
    left[neurons.cpu()] = False
    return left.nonzero().flatten()
