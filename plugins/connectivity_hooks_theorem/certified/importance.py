"""Which neurons an end would rather keep: those whose features vary and are read with large weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network import Network
from connectivity_hooks_theorem.certified.running import Values
from connectivity_hooks_theorem.certified.slots import random_orders


class Spread:
    """Sums and squares of the features at cuts, neuron by neuron, gathered batch by batch."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._moments: dict[int, list[Tensor]] = {}

    def add(self, values: Values) -> None:
        """Take in the values at a cut."""
        for name, value in values.items():
            axis = self._network.axes[name]
            wide = value.reshape(len(value), self._network.spaces[axis.space].width, -1).transpose(0, 1).flatten(1)
            wide = wide.double()
            moments = [wide.sum(1), wide.square().sum(1), torch.tensor(float(wide.shape[1]), dtype=torch.float64)]
            held = self._moments.get(axis.space)
            self._moments[axis.space] = moments if held is None else [a + b for a, b in zip(held, moments, strict=True)]

    def deviation(self, space: int) -> Tensor:
        """Return the standard deviation of each neuron of a space, (n,)."""
        total, squares, count = self._moments[space]
        return (squares / count - (total / count).square()).clamp_min(0).sqrt()


def importance(network: Network, weights: Weights, spread: Spread) -> dict[int, Tensor]:
    """Return for each space at a cut the share of each of its neurons: standard deviation times weight norm, of sum 1.

    The weights are those of the layers that read it.
    """
    shares: dict[int, Tensor] = {}
    for cut in range(1, len(network.cuts)):
        for space in network.cut_spaces(cut):
            norms = torch.zeros(network.spaces[space].width, dtype=torch.float64)
            for layer in network.layers:
                if layer.cols is not None and layer.cols.space == space:
                    weight = weights[layer.step.weights["weight"]].double().transpose(0, 1).flatten(1)
                    norms += weight.square().sum(1).view(-1, layer.cols.spread).sum(1).cpu()
            product = spread.deviation(space).cpu() * norms.sqrt()
            shares[space] = product / product.sum().clamp_min(1e-300)
    return shares


def by_importance(network: Network, shares: Sequence[dict[int, Tensor]], seed: int) -> list[Tensor]:
    """Return an order of the neurons of every space, so that each end reads those that matter more to it.

    First come, at its cut, the neurons that matter more to the end that reads side 0 there, last those that matter more
    to the other. A space that is at several cuts, the stream of a residual network, is read by both ends on both sides
    in turn; it and spaces at no cut are ordered at random.

    Args:
        network: The network.
        shares: The `importance` of both ends' neurons.
        seed: Seed of random orders.
    """
    orders = random_orders(network.spaces, seed)
    for space, cut in network.read_once().items():
        gain = shares[cut % 2][space] - shares[1 - cut % 2][space]  # the end that reads side 0 of this cut
        orders[space] = gain.argsort(descending=True, stable=True)
    return orders
