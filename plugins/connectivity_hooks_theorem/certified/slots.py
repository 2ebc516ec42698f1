"""Which neurons hold what: every space cut in two sides, so that no neuron ever has to be moved.

Sub-network j of end e ∈ {0, 1} reads and lives on side (j+e) mod 2 of every space. It never meets sub-network j+1, nor
the other end's sub-network 1 (arXiv 2102.09671 in its half/half form). Unequal sides follow the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks_theorem.certified.network import Space

Slots: TypeAlias = Mapping[int, Tensor]
"""For each space the neurons that a sub-network reads or lives in, ascending."""


@dataclass(frozen=True)
class Sides:
    """Every space cut in two, the same cut for both ends.

    Attributes:
        cuts: For each space the neurons of side 0 and of side 1; a whole space has all of them on both.
    """

    cuts: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def draw(cls, spaces: Sequence[Space], seed: int) -> Sides:
        """Cut every space in half at random."""
        generator = torch.Generator().manual_seed(seed)
        cuts = []
        for space in spaces:
            order, half = torch.randperm(space.width, generator=generator), space.width // 2
            sides = (order, order) if space.whole else (order[:half], order[half:])
            cuts.append((sides[0].sort().values, sides[1].sort().values))
        return cls(tuple(cuts))

    def side(self, space: int, subnetwork: int, end: int) -> Tensor:
        """Return the neurons of a space that a sub-network of an end may use."""
        return self.cuts[space][(subnetwork + end) % 2]

    def slots(self, subnetwork: int, end: int) -> dict[int, Tensor]:
        """Return the neurons of every space that a sub-network of an end may use."""
        return {space: self.side(space, subnetwork, end) for space in range(len(self.cuts))}


def all_but(width: int, neurons: Tensor) -> Tensor:
    """Return the neurons of a space of `width` that are not among `neurons`."""
    left = torch.ones(width, dtype=torch.bool)
    left[neurons.cpu()] = False
    return left.nonzero().flatten()
