"""A split of the data: samples in a fixed order, in batches, cached on the device when they fit."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import Batch, with_labels
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors, rows_of, taken


class Drawn(NamedTuple):
    """Some samples, drawn at random.

    Attributes:
        rows: Their numbers in the split's order, int64 (n,), on the split's device.
        inputs: Of a model, n samples.
        targets: (n, …).
    """

    rows: Tensor
    inputs: Inputs
    targets: Tensor


class Split(ABC):
    """Samples and targets in one fixed order, the same at every pass.

    Inputs are a tensor, a tuple of arguments or a mapping of named ones, see `connectivity_hooks.model.inputs`. What is
    handed out is the caller's own: a model or a loss may write to it, and the next pass is the same.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples N."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets) on the split's device, `size` samples at a time, the last batch smaller."""

    @abstractmethod
    def targets(self) -> Tensor:
        """Return all targets (N, …)."""

    @abstractmethod
    def head(self, count: int) -> Split:
        """Return the first `count` samples."""

    @abstractmethod
    def sample(self, count: int, seed: int) -> Split:
        """Return `count` samples drawn without replacement by an own generator, in the split's order."""

    @abstractmethod
    def shuffled(self, size: int, seed: int | torch.Generator, *, epoch: int = 0, start: int = 0) -> Iterator[Drawn]:
        """Yield all samples once, at most `size` at a time, in an order drawn for one epoch of a training.

        Samples that are held in one tensor are drawn from all of the split, ``torch.randperm`` of N cut into pieces.
        Batches that cannot be joined are drawn, and then the samples of each; a stream is gone through in its loader's
        order, and only the samples of each of its batches are drawn.

        Args:
            size: Samples at a time; the last are fewer.
            seed: Seed of the order; or a generator on the processor, of which the next order is taken: its first
                batch draws, and the training goes on with the same one in its next epoch.
            epoch: Each has an order of its own under one seed, whichever were drawn before; so a training can be
                resumed at any of them. It does nothing beside a generator.
            start: Batches of this epoch to leave out, where a training is resumed inside of it.
        """

    @abstractmethod
    def labelled(self) -> Split:
        """Return the split whose targets are also an entry ``labels`` of its named inputs."""


class CachedSplit(Split):
    """A split held in memory.

    Args:
        name: ``train`` or ``test``.
        inputs: A tensor (N, …), a tuple of them or a mapping of named ones.
        targets: (N,) labels, or (N, …).

    Attributes:
        inputs: The same.

    Raises:
        InputError: The split is empty, or the lengths differ.
    """

    def __init__(self, name: str, inputs: Inputs, targets: Tensor) -> None:
        rows = rows_of(inputs)
        if rows != len(targets):
            raise InputError(f"data: {name} has {rows} inputs and {len(targets)} targets; expected as many")
        if rows == 0:
            raise InputError(f"data: {name} has no samples")
        self.name = name
        self.inputs = inputs
        self._targets = targets

    def __len__(self) -> int:
        return len(self._targets)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets), `size` samples at a time."""
        for first in range(0, len(self), size):
            rows = slice(first, first + size)
            yield mapped(torch.clone, taken(self.inputs, rows)), self._targets[rows].clone()

    def targets(self) -> Tensor:
        """Return all targets (N, …)."""
        return self._targets.clone()

    def head(self, count: int) -> CachedSplit:
        """Return the first `count` samples."""
        return self._of(slice(count))

    def sample(self, count: int, seed: int) -> CachedSplit:
        """Return `count` samples drawn without replacement, in the split's order."""
        return self._of(draw(len(self), count, seed))

    def shuffled(self, size: int, seed: int | torch.Generator, *, epoch: int = 0, start: int = 0) -> Iterator[Drawn]:
        """Yield all samples once, `size` at a time, in an order of the epoch's own."""
        device = next(tensor.device for _, tensor in named_tensors(self.inputs))
        order = torch.randperm(len(self), generator=generator_of(seed, epoch))
        for chosen in order.split(size)[start:]:
            rows = chosen.to(device, non_blocking=True)  # an accelerator is not waited for
            theirs = chosen.to(self._targets.device, non_blocking=True)
            yield Drawn(rows, taken(self.inputs, rows), self._targets[theirs])

    def labelled(self) -> CachedSplit:
        """Return the split whose targets are also an entry ``labels`` of its named inputs."""
        return CachedSplit(self.name, *with_labels((self.inputs, self._targets)))

    def to(self, device: torch.device, dtype: torch.dtype) -> CachedSplit:
        """Return the split on `device`, floating inputs and targets in `dtype`."""
        return CachedSplit(self.name, *moved((self.inputs, self._targets), device, dtype, self.name))

    def _of(self, rows: slice | Tensor) -> CachedSplit:
        return CachedSplit(self.name, taken(self.inputs, rows), taken(self._targets, rows))


def draw(size: int, count: int, seed: int) -> Tensor:
    """Return `count` of the rows below `size`, drawn without replacement by an own generator, in ascending order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values


def generator_of(seed: int | torch.Generator, epoch: int) -> torch.Generator:
    """Return a generator for the order of one epoch; a given one as it is."""
    if isinstance(seed, torch.Generator):
        return seed
    # A digest of both: seeds that are sums, say, would give epoch 1 of seed 0 the order of epoch 0 of seed 1.
    mixed = hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big") >> 1)  # 63 bits: what `manual_seed` takes


def moved(values: Inputs, device: torch.device, dtype: torch.dtype, name: str) -> Inputs:
    """Return inputs, targets or both on `device`, their floating tensors in `dtype`.

    Raises:
        InputError: `dtype` has no such large numbers; the message names the split, `name`.
    """

    def place(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or tensor.dtype == dtype:
            return tensor.to(device)
        there = tensor.to(device, dtype)
        if bool(tensor.isfinite().all()) and not bool(there.isfinite().all()):
            short = str(dtype).removeprefix("torch.")
            raise InputError(f"data: {name} holds numbers too large for {short}; scale them, or take float64 (--dtype)")
        return there

    return mapped(place, values)
