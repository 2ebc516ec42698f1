"""The features a sub-network is trained on: in memory as far as a budget allows, else computed again batch by batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.structure.program import INPUT
from connectivity_hooks.tasks.split import CachedSplit, Split
from connectivity_hooks_theorem.certified.network import Network
from connectivity_hooks_theorem.certified.running import Values, in_batches, inputs, restricted, run, run_all
from connectivity_hooks_theorem.certified.slots import Slots

Drawn: TypeAlias = Iterator[tuple[Tensor, Values]]
"""Indices of some samples, and their features."""


class Features(ABC):
    """The features at a cut, of N samples.

    Attributes:
        count: N.
        head: The features of the first samples.
    """

    count: int
    head: Values

    @property
    def are_maps(self) -> bool:
        """Whether they have positions besides channels."""
        return next(iter(self.head.values())).ndim > 2

    @abstractmethod
    def shuffled(self, size: int, generator: torch.Generator) -> Drawn:
        """Yield all samples once, `size` at a time, in an order drawn anew."""

    @abstractmethod
    def batches(self, size: int) -> Iterable[Values]:
        """Yield the features of all samples in order, in full precision."""


class Held(Features):
    """Features in memory, of which a sub-network may read some channels alone: these are never copied as a whole.

    Args:
        network: The network.
        values: (N, …) by name.
        keep: The neurons that are read; None reads all.
    """

    def __init__(self, network: Network, values: Values, keep: Slots | None = None) -> None:
        self._network, self._values, self._keep = network, values, keep
        self.count = len(next(iter(values.values())))
        self.head = self._kept({name: value[:64] for name, value in values.items()})

    def shuffled(self, size: int, generator: torch.Generator) -> Drawn:
        """Yield all samples once, `size` at a time, in an order drawn anew."""
        device = next(iter(self._values.values())).device
        for chosen in torch.randperm(self.count, generator=generator).to(device).split(size):
            yield chosen, self._kept({name: value[chosen] for name, value in self._values.items()})

    def batches(self, size: int) -> Iterable[Values]:
        """Yield the features of all samples in order."""
        return map(self._kept, in_batches(self._values, size))

    def whole(self) -> Tensor:
        """Return a copy (N, F) of the features that are read at a cut with a single value, flattened."""
        ((name, value),) = self._values.items()
        kept = self._kept(self._values)[name].flatten(1)
        return kept.clone() if kept.data_ptr() == value.data_ptr() else kept

    def _kept(self, values: Values) -> Values:
        return values if self._keep is None else restricted(self._network, values, self._keep)


class Recomputed(Features):
    """Features computed from the data when they are asked for, from the weights in front of a cut.

    Args:
        network: The network.
        weights: Weights of the layers in front of the cut.
        split: The samples.
        cut: The cut.
        keep: The neurons kept.
        batch_size: Samples of a forward pass.
        rounded: The same features in bfloat16, to train on; None where these do not fit either.
    """

    def __init__(
        self,
        network: Network,
        weights: Weights,
        split: Split,
        cut: int,
        keep: Slots,
        batch_size: int,
        rounded: Values | None,
    ) -> None:
        self._network, self._weights, self._split = network, weights, split
        self._cut, self._keep, self._batch_size = cut, keep, batch_size
        self._rounded = rounded
        self.count = len(split)
        self.head = self._of(next(iter(split.head(64).batches(64)))[0])

    def shuffled(self, size: int, generator: torch.Generator) -> Drawn:
        """Yield all samples once, `size` at a time.

        The order is drawn anew, except from a loader that is gone through in its own: there only within its batches.
        """
        if self._rounded is not None:
            for chosen, values in Held(self._network, self._rounded).shuffled(size, generator):
                yield chosen, {name: value.to(self.head[name].dtype) for name, value in values.items()}
        elif isinstance(self._split, CachedSplit):
            for chosen in torch.randperm(self.count, generator=generator).split(size):
                indices = chosen.to(self._split.inputs.device)
                yield indices, self._of(self._split.inputs[indices])
        else:
            first = 0
            for x, _ in self._split.batches(self._batch_size):
                for chosen in torch.randperm(len(x), generator=generator).to(x.device).split(size):
                    yield chosen + first, self._of(x[chosen])
                first += len(x)

    def batches(self, size: int) -> Iterable[Values]:
        """Yield the features of all samples in order, in full precision."""
        for x, _ in self._split.batches(size):
            yield self._of(x)

    @torch.no_grad()
    def _of(self, x: Tensor) -> Values:
        found = run(self._network, self._weights, {INPUT: x}, 0, self._cut)
        return restricted(self._network, found, self._keep)


def features_at(
    network: Network, weights: Weights, split: Split, cut: int, keep: Slots, batch_size: int, budget: int
) -> Features:
    """Return the features at a cut: in memory where they take at most `budget` bytes, else rounded or computed again.

    Memory: `budget` and one batch. Time of what does not fit: a forward pass in front of the cut for each epoch; of
    what fits rounded to bfloat16: one for each round of training.
    """
    slow = Recomputed(network, weights, split, cut, keep, batch_size, None)
    size = sum(value[0].numel() * value.element_size() for value in slow.head.values()) * len(split)
    if size <= budget:
        return Held(network, run_all(network, weights, inputs(split, batch_size), len(split), 0, cut, keep))
    if size // 2 > budget:
        return slow
    rounded = {
        name: value.new_empty((len(split), *value.shape[1:]), dtype=torch.bfloat16) for name, value in slow.head.items()
    }
    first = 0
    for values in slow.batches(batch_size):
        for name, value in values.items():
            rounded[name][first : first + len(value)] = value
        first += len(next(iter(values.values())))
    return Recomputed(network, weights, split, cut, keep, batch_size, rounded)
