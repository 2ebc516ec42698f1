"""What the entries along an axis are made of, as data: neurons of spaces, reshaped and put one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Permutations: TypeAlias = Mapping[int, Tensor]
"""For each space that is permuted the old number (width,) of each neuron; spaces without an entry stay."""


@dataclass(frozen=True)
class Neurons:
    """The neurons of a space, one entry each.

    Attributes:
        space: Number of the space; None for positions, which are no neurons: samples, pixels, entries of a kernel.
        width: How many.
    """

    space: int | None
    width: int

    def indices(self, permutations: Permutations) -> Tensor:
        """Return the old entry of each new one (width,)."""
        if self.space is None or self.space not in permutations:
            return torch.arange(self.width)
        return permutations[self.space].cpu()

    def leaves(self) -> Iterator[Neurons]:
        """Yield itself."""
        yield self


@dataclass(frozen=True)
class Reshape:
    """Several axes as one; the last runs fastest, as flattened channels and pixels do."""

    factors: tuple[Layout, ...]

    @property
    def width(self) -> int:
        """Entries."""
        return math.prod(factor.width for factor in self.factors)

    def indices(self, permutations: Permutations) -> Tensor:
        """Return the old entry of each new one (width,)."""
        found = torch.zeros(1, dtype=torch.long)
        for factor in self.factors:
            found = (found[:, None] * factor.width + factor.indices(permutations)).flatten()
        return found

    def leaves(self) -> Iterator[Neurons]:
        """Yield the neurons it is made of."""
        for factor in self.factors:
            yield from factor.leaves()


@dataclass(frozen=True)
class Joined:
    """Several axes one after the other."""

    parts: tuple[Layout, ...]

    @property
    def width(self) -> int:
        """Entries."""
        return sum(part.width for part in self.parts)

    def indices(self, permutations: Permutations) -> Tensor:
        """Return the old entry of each new one (width,)."""
        found, first = [], 0
        for part in self.parts:
            found.append(part.indices(permutations) + first)
            first += part.width
        return torch.cat(found)

    def leaves(self) -> Iterator[Neurons]:
        """Yield the neurons it is made of."""
        for part in self.parts:
            yield from part.leaves()


Layout: TypeAlias = Neurons | Reshape | Joined
