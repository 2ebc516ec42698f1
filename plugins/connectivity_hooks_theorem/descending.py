"""Half of a certified path: from one end down to the state in which the first layer's sub-network does all the work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks.paths import CONSTANT, CONVEX, Edit, Weights
from connectivity_hooks.paths.edits import edits_between
from connectivity_hooks.paths.path import Guarantee
from connectivity_hooks_theorem.chain import Chain
from connectivity_hooks_theorem.slots import Sides
from connectivity_hooks_theorem.subnetwork import Affine, Subnetwork


class HalfPath:
    """Points and guarantees from one end; each step switches to the sub-network of the layer below.

    A step (arXiv 2102.09671): the sub-network is written into dead neurons (constant), the output layer is switched
    to it (convex), what is now dead is cleared (constant).

    Only the last point and the blocks that change are held, so memory is that of the path on disk.

    Args:
        chain: The chain.
        weights: The end's weights.
        sides: The cut of every layer.
        end: 0 or 1. The path leaves end 0 and arrives at end 1, so the edits of end 1 lead back to it.

    Attributes:
        last: The last point.
        edits: For each segment the edits, in the path's direction.
        guarantees: For each segment its guarantee.
    """

    def __init__(self, chain: Chain, weights: Weights, sides: Sides, end: int) -> None:
        self._chain = chain
        self._sides = sides
        self._end = end
        self._now = dict(weights)
        self.last = dict(weights)
        self.edits: list[tuple[Edit, ...]] = []
        self.guarantees: list[Guarantee] = []

    def step(self, layer: int, subnetwork: Subnetwork) -> None:
        """Switch to the sub-network of `layer`; layers come in falling order from the last hidden one."""
        chain, depth = self._chain, self._chain.depth
        maps = subnetwork.carried(depth - layer + 1)
        slots = self._slots(layer, maps)
        if layer < depth:
            for p in range(layer + 1, depth + 1):
                self._write(p, slots[p], slots[p - 1], maps[p - layer - 1])
            self._push(CONSTANT)
        output = chain.layer(depth + 1)
        weight = torch.zeros_like(self._now[output.weight])
        weight[:, slots[depth]] = maps[-1].weight.to(weight)
        self._now[output.weight], self._now[output.bias] = weight, maps[-1].bias.to(weight)
        self._push(CONVEX)
        for p in range(layer, depth + 1):
            self._clear(p, slots[p])
        self._push(CONSTANT)

    def _slots(self, layer: int, maps: Sequence[Affine]) -> dict[int, Tensor]:
        """Return for `layer` the features kept, and for each layer above the neurons of the sub-network."""
        slots = {layer: self._sides.side(layer, layer, self._end)}
        for p in range(layer + 1, self._chain.depth + 1):
            slots[p] = self._sides.side(p, layer, self._end)[: len(maps[p - layer - 1].bias)]
        return slots

    def _write(self, p: int, rows: Tensor, columns: Tensor, affine: Affine) -> None:
        layer = self._chain.layer(p)
        weight, bias = self._now[layer.weight].clone(), self._now[layer.bias].clone()
        weight[rows] = 0
        weight[rows[:, None], columns[None, :]] = affine.weight.to(weight)
        bias[rows] = affine.bias.to(bias)
        self._now[layer.weight], self._now[layer.bias] = weight, bias

    def _clear(self, p: int, live: Tensor) -> None:
        """Zero what enters and leaves the neurons of layer p that nothing reads any more."""
        layer, above = self._chain.layer(p), self._chain.layer(p + 1)
        dead = torch.ones(layer.width, dtype=torch.bool)
        dead[live] = False
        weight, bias, out = (self._now[name].clone() for name in (layer.weight, layer.bias, above.weight))
        weight[dead], bias[dead], out[:, dead] = 0, 0, 0
        self._now[layer.weight], self._now[layer.bias], self._now[above.weight] = weight, bias, out

    def _push(self, guarantee: Guarantee) -> None:
        now = dict(self._now)
        self.edits.append(edits_between(self.last, now) if self._end == 0 else edits_between(now, self.last))
        self.guarantees.append(guarantee)
        self.last = now


def meeting(chain: Chain, left: Weights, right: Weights) -> tuple[Weights, Weights]:
    """Return the points where both ends' last states stand side by side, read by the left's output, then the right's.

    They use disjoint neurons of every layer, so the sum of the hidden layers holds both.
    """
    both = dict(left)
    for index in range(1, chain.depth + 1):
        layer = chain.layer(index)
        for name in (layer.weight, layer.bias):
            both[name] = left[name] + right[name]
    output = chain.layer(chain.depth + 1)
    return both, {**both, output.weight: right[output.weight], output.bias: right[output.bias]}
