"""Which neurons an end would rather keep: those whose features vary and are read with large weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import random_orders
from connectivity_hooks_theorem.certified.network.values import Values
from connectivity_hooks_theorem.probes.least_squares import solve


class Importance(ABC):
    """Gathers, batch by batch, what tells how much each neuron at a cut matters.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    @abstractmethod
    def add(self, values: Sequence[Values], outputs: Tensor) -> None:
        """Take in a batch: the values at every cut behind the input's, and the outputs (N, C)."""

    @abstractmethod
    def shares(self, weights: Weights) -> dict[int, Tensor]:
        """Return for each space at a cut the share of each of its neurons, of sum 1, float64."""

    def _wide(self, name: str, value: Tensor) -> Tensor:
        """Return a value as (N, neurons, …) in float64."""
        return value.reshape(len(value), self.network.spaces[self.network.axes[name].space].width, -1).double()


class ReadImportance(Importance):
    """A neuron's standard deviation times the norm of the weights by which the end's own layers read it."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._moments: dict[int, Tensor] = {}

    def add(self, values: Sequence[Values], outputs: Tensor) -> None:
        """Take in a batch."""
        for at in values:
            for name, value in at.items():
                wide = self._wide(name, value).transpose(0, 1).flatten(1)
                count = wide.new_full((len(wide),), float(wide.shape[1]))
                found = torch.stack([wide.sum(1), wide.square().sum(1), count])
                space = self.network.axes[name].space
                self._moments[space] = self._moments[space] + found if space in self._moments else found

    def shares(self, weights: Weights) -> dict[int, Tensor]:
        """Return the shares."""
        return {space: _normalised(self._deviation(space) * self._norms(space, weights)) for space in self._moments}

    def _deviation(self, space: int) -> Tensor:
        total, squares, count = self._moments[space].cpu()
        return torch.sqrt((squares / count - (total / count).square()).clamp_min(0))

    def _norms(self, space: int, weights: Weights) -> Tensor:
        squares = torch.zeros(self.network.spaces[space].width, dtype=torch.float64)
        for layer in self.network.layers:
            if layer.cols is not None and layer.cols.space == space:
                weight = weights[layer.step.weights["weight"]].double().transpose(0, 1).flatten(1)
                squares += weight.square().sum(1).view(-1, layer.cols.spread).sum(1).cpu()
        return squares.sqrt()


class ProbeImportance(Importance):
    """A neuron's standard deviation times the norm of its weights in a linear probe of the end's outputs.

    The probe is the least-squares map from all neurons of a value at a cut, averaged over positions, to the outputs;
    for spaces at one cut alone. Memory: n² numbers a cut.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._alone = network.read_once()
        self._moments: dict[int, list[Tensor]] = {}

    def add(self, values: Sequence[Values], outputs: Tensor) -> None:
        """Take in a batch."""
        ones = torch.ones(len(outputs), 1, dtype=torch.float64, device=outputs.device)
        for at in values:
            for name, value in at.items():
                space = self.network.axes[name].space
                if space not in self._alone:
                    continue
                known = torch.cat([self._wide(name, value).mean(2), ones], 1)
                found = [known.T @ known, known.T @ outputs.double()]
                held = self._moments.get(space)
                self._moments[space] = found if held is None else [a + b for a, b in zip(held, found, strict=True)]

    def shares(self, weights: Weights) -> dict[int, Tensor]:
        """Return the shares."""
        found = {}
        for space, (moments, products) in self._moments.items():
            count, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
            covariance = moments[:-1, :-1] / count - mean[:, None] * mean
            wanted = products[:-1] / count - mean[:, None] * (products[-1] / count)
            norms = solve(covariance, wanted).square().sum(1).sqrt()
            found[space] = _normalised((covariance.diagonal().clamp_min(0).sqrt() * norms).cpu())
        return found


IMPORTANCES: Mapping[str, type[Importance]] = {"important": ReadImportance, "probe": ProbeImportance}


def _normalised(shares: Tensor) -> Tensor:
    return shares / shares.sum().clamp_min(1e-300)  # neurons that all say nothing share nothing


def by_importance(network: Network, shares: Sequence[dict[int, Tensor]], seed: int) -> list[Tensor]:
    """Return an order of the neurons of every space, so that each end reads those that matter more to it.

    First come, at its cut, the neurons that matter more to the end that reads side 0 there, last those that matter more
    to the other. A space that is at several cuts, the stream of a residual network, is read by both ends on both sides
    in turn; it and spaces at no cut are ordered at random.

    Args:
        network: The network.
        shares: The importance of both ends' neurons, at least in spaces at one cut alone.
        seed: Seed of random orders.
    """
    orders = random_orders(network.spaces, seed)
    for space, cut in network.read_once().items():
        gain = shares[cut % 2][space] - shares[1 - cut % 2][space]  # the end that reads side 0 of this cut
        orders[space] = gain.argsort(descending=True, stable=True)
    return orders
