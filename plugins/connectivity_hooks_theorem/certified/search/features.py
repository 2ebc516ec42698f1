"""The features a sub-network is trained on: in memory as far as allowed, else computed again batch by batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import INPUT
from connectivity_hooks.tasks import Augment, Split, Task
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Neurons
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import Values, gathered, in_batches, restricted

OUTPUTS = "the end's outputs"
"""Under this name augmented features come with the end's outputs on them."""

Drawn: TypeAlias = Iterator[tuple[Tensor, Values]]
"""Indices of some samples, and their features."""

_HEAD = 64
"""Samples from which shapes and the scale of features are taken: fresh weights need no better a guess."""


@dataclass(frozen=True)
class Source:
    """Computes the features at a cut.

    Attributes:
        network: The network.
        weights: The end's weights.
        cut: The cut.
        neurons: The neurons kept.
    """

    network: Network
    weights: Weights
    cut: int
    neurons: Neurons

    @torch.no_grad()
    def kept(self, x: Tensor) -> Values:
        """Return the features kept of inputs (N, …)."""
        return restricted(self.network, self._all(x), self.neurons)

    @torch.no_grad()
    def with_outputs(self, x: Tensor) -> Values:
        """Return the features kept, and the end's outputs (N, C) under `OUTPUTS`."""
        found = self._all(x)
        (outputs,) = Stretch(self.network, self.cut).run(self.weights, found).values()
        return {**restricted(self.network, found, self.neurons), OUTPUTS: outputs}

    def _all(self, x: Tensor) -> Values:
        return Stretch(self.network, 0, self.cut).run(self.weights, {INPUT: x})


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
        neurons: The neurons that are read; None reads all.
    """

    def __init__(self, network: Network, values: Values, neurons: Neurons | None = None) -> None:
        self._network, self._values, self._neurons = network, values, neurons
        self.count = len(next(iter(values.values())))
        self.head = self._kept({name: value[:_HEAD] for name, value in values.items()})

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
        return values if self._neurons is None else restricted(self._network, values, self._neurons)


class Recomputed(Features):
    """Features computed from the data when they are asked for.

    Args:
        source: Computes them.
        split: The samples.
        batch_size: Samples of a forward pass.
        rounded: The same features in bfloat16, to train on; None where these do not fit either.
    """

    def __init__(self, source: Source, split: Split, batch_size: int, rounded: Values | None = None) -> None:
        self._source, self._split, self._batch_size = source, split, batch_size
        self._rounded = rounded
        self.count = len(split)
        self.head = source.kept(next(iter(split.head(_HEAD).batches(_HEAD)))[0])

    def shuffled(self, size: int, generator: torch.Generator) -> Drawn:
        """Yield all samples once, `size` at a time."""
        if self._rounded is not None:
            for chosen, values in Held(self._source.network, self._rounded).shuffled(size, generator):
                yield chosen, {name: value.to(self.head[name].dtype) for name, value in values.items()}
        else:
            for chosen, x, _ in self._split.shuffled(size, generator):
                yield chosen, self._source.kept(x)

    def batches(self, size: int) -> Iterable[Values]:
        """Yield the features of all samples in order, in full precision."""
        return (self._source.kept(x) for x, _ in self._split.batches(size))


class Augmented(Recomputed):
    """Features of samples augmented anew whenever they are drawn; in order, to be measured, they are left as they are.

    Args:
        source: Computes them.
        split: The samples.
        batch_size: Samples of a forward pass.
        augment: Maps inputs (N, …) to as many augmented ones.
        imitate: Whether to give the end's own outputs on these too, under `OUTPUTS`.
    """

    def __init__(self, source: Source, split: Split, batch_size: int, augment: Augment, *, imitate: bool) -> None:
        super().__init__(source, split, batch_size)
        self._augment = augment
        self._compute = source.with_outputs if imitate else source.kept

    def shuffled(self, size: int, generator: torch.Generator) -> Drawn:
        """Yield all samples once, `size` at a time; the augmentation draws from PyTorch's global generator."""
        for chosen, x, _ in self._split.shuffled(size, generator):
            yield chosen, self._compute(self._augment(x))


def training_features(source: Source, task: Task, memory: int, *, imitate: bool) -> Features:
    """Return the features a sub-network is trained on: augmented where the task says so, or as many held as fit.

    Args:
        source: Computes them.
        task: The data.
        memory: Bytes that may be held.
        imitate: Whether augmented features need the end's own outputs on them.
    """
    if task.augment is None:
        return features_at(source, task.train, task.batch_size, memory)
    return Augmented(source, task.train, task.batch_size, task.augment, imitate=imitate)


def features_at(source: Source, split: Split, batch_size: int, memory: int) -> Features:
    """Return the features at a cut: in memory where they take at most `memory` bytes, else rounded or computed again.

    Memory: `memory` and one batch. Time of what does not fit: a forward pass in front of the cut for each epoch; of
    what fits rounded to bfloat16: one for each round of training.
    """
    slow = Recomputed(source, split, batch_size)
    size = sum(value[0].numel() * value.element_size() for value in slow.head.values()) * len(split)
    if size <= memory:
        return Held(source.network, gathered(slow.batches(batch_size), len(split)))
    if size // 2 > memory:  # in bfloat16
        return slow
    return Recomputed(source, split, batch_size, gathered(slow.batches(batch_size), len(split), torch.bfloat16))
