"""Which neurons hold what: the plan of a certified path, without a single move of a neuron.

Widths of the theorem, in the form without moves: at each layer the features kept and the sub-network of the layer below
must fit side by side, and so must the sub-networks of neighbouring layers above; at the end the two ends' last states
must.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sides:
    """Every hidden layer's neurons, cut in two; the same cut for both ends.

    For end e ∈ {0, 1}, the features kept at layer l are on side (l+e) mod 2, and the sub-network that reads them lives
    on side (l+e) mod 2 of the layers above: it never meets the next layer's features, the next layer's sub-network, or
    the other end's last state.

    Attributes:
        cuts: For each hidden layer the neurons of side 0 and of side 1, ascending.
    """

    cuts: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def draw(cls, widths: list[int], seed: int) -> Sides:
        """Cut every layer in half at random."""
        generator = torch.Generator().manual_seed(seed)
        cuts = []
        for width in widths:
            order = torch.randperm(width, generator=generator)
            cuts.append((order[: width // 2].sort().values, order[width // 2 :].sort().values))
        return cls(tuple(cuts))

    def side(self, layer: int, of: int, end: int) -> Tensor:
        """Return the neurons of `layer` on the side that belongs to layer `of` of an end; layers count from 1."""
        return self.cuts[layer - 1][(of + end) % 2]

    def narrowest(self, layer: int) -> int:
        """Return the size of the smaller side of a layer."""
        return min(len(side) for side in self.cuts[layer - 1])
