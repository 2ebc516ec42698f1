"""A split of the data: samples in a fixed order, in batches, cached on the device when they fit."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError

Batch: TypeAlias = tuple[Tensor, Tensor]


class Split(ABC):
    """Samples and targets in one fixed order, the same at every pass.

    What is handed out is the caller's own: a model or a loss may write to it, and the next pass is the same.
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


class CachedSplit(Split):
    """A split held in memory as two tensors.

    Args:
        name: ``train`` or ``test``.
        inputs: (N, …).
        targets: (N,) labels, or (N, …).

    Raises:
        InputError: The split is empty, or the two lengths differ.
    """

    def __init__(self, name: str, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets):
            raise InputError(f"data: {name} has {len(inputs)} inputs and {len(targets)} targets; expected as many")
        if len(inputs) == 0:
            raise InputError(f"data: {name} has no samples")
        self.name = name
        self.inputs = inputs
        self._targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets), `size` samples at a time."""
        for inputs, targets in zip(self.inputs.split(size), self._targets.split(size), strict=True):
            yield inputs.clone(), targets.clone()

    def targets(self) -> Tensor:
        """Return all targets (N, …)."""
        return self._targets.clone()

    def head(self, count: int) -> CachedSplit:
        """Return the first `count` samples."""
        return CachedSplit(self.name, self.inputs[:count], self._targets[:count])

    def sample(self, count: int, seed: int) -> CachedSplit:
        """Return `count` samples drawn without replacement, in the split's order."""
        chosen = draw(len(self), count, seed).to(self.inputs.device)
        return CachedSplit(self.name, self.inputs[chosen], self._targets[chosen.to(self._targets.device)])

    def to(self, device: torch.device, dtype: torch.dtype) -> CachedSplit:
        """Return the split on `device`, floating inputs and targets in `dtype`."""
        inputs, targets = (_moved(part, device, dtype, self.name) for part in (self.inputs, self._targets))
        return CachedSplit(self.name, inputs, targets)


class StreamedSplit(Split):
    """A split that does not fit in memory: its loader is gone through at every pass.

    Args:
        name: ``train`` or ``test``.
        loader: Yields (inputs, targets) in the same order at every pass; its own batch size is used.
        device: Where batches are moved.
        dtype: Floating type they get.

    Raises:
        InputError: At a later pass, when the loader gives other targets or inputs than before: it shuffles, or it
            augments at random, and figures of two passes could not be compared.
    """

    def __init__(self, name: str, loader: Iterable[Batch], device: torch.device, dtype: torch.dtype) -> None:
        self.name = name
        self._loader = loader
        self._device = device
        self._dtype = dtype
        self._inputs, passed = 0, []
        for inputs, targets in self._raw():
            self._inputs += _checksum(inputs)
            passed.append(targets)
        self._targets = torch.cat(passed)
        self._digest = _digest(self._targets)
        if len(self._targets) == 0:
            raise InputError(f"data: {name} has no samples")

    def __len__(self) -> int:
        return len(self._targets)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets), `size` samples at a time."""
        seen, passed = 0, []
        for inputs, targets in self._raw():
            seen += _checksum(inputs)
            passed.append(targets)
            yield self._placed(inputs), self._placed(targets.clone())
        if _digest(torch.cat(passed)) != self._digest:
            raise InputError(
                f"data: the {self.name} loader gives another order at every pass; make it with shuffle=False"
            )
        if seen != self._inputs:
            raise InputError(
                f"data: the {self.name} loader gives other inputs at every pass; give one that augments nothing"
            )

    def targets(self) -> Tensor:
        """Return all targets (N, …)."""
        return self._placed(self._targets.clone())

    def head(self, count: int) -> Split:
        """Return the first `count` samples."""
        return self._gathered(torch.arange(min(count, len(self))))

    def sample(self, count: int, seed: int) -> Split:
        """Return `count` samples drawn without replacement, in the split's order."""
        return self._gathered(draw(len(self), count, seed))

    def _gathered(self, chosen: Tensor) -> CachedSplit:
        inputs, targets, first = [], [], 0
        for x, y in self._raw():
            here = chosen[(chosen >= first) & (chosen < first + len(y))] - first
            inputs.append(x[here])
            targets.append(y[here])
            first += len(y)
            if first > int(chosen[-1]):
                break
        return CachedSplit(self.name, torch.cat(inputs), torch.cat(targets)).to(self._device, self._dtype)

    def _placed(self, tensor: Tensor) -> Tensor:
        return _moved(tensor, self._device, self._dtype, self.name)

    def _raw(self) -> Iterator[Batch]:
        for inputs, targets in self._loader:  # it may fill the same buffers again, or give parts of what it holds
            yield inputs.clone(), targets.clone()


def draw(size: int, count: int, seed: int) -> Tensor:
    """Return `count` of the rows below `size`, drawn without replacement by an own generator, in ascending order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values


def _checksum(inputs: Tensor) -> int:
    """Return the sum of the inputs' bytes, four at a time: exact, whatever the threads, and quicker than a digest."""
    whole = inputs.detach().contiguous().reshape(-1).view(torch.uint8)
    return int(whole[: len(whole) // 4 * 4].view(torch.int32).sum(dtype=torch.int64))


def _digest(targets: Tensor) -> str:
    return hashlib.sha256(targets.contiguous().view(torch.uint8).cpu().numpy().tobytes()).hexdigest()


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype, name: str) -> Tensor:
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor.to(device)
    moved = tensor.to(device, dtype)
    if bool(tensor.isfinite().all()) and not bool(moved.isfinite().all()):
        short = str(dtype).removeprefix("torch.")
        raise InputError(f"data: {name} holds numbers too large for {short}; scale them, or take --dtype float64")
    return moved
