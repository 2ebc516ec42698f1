"""A split of the data: samples in a fixed order, in batches, cached on the device when they fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError

Batch: TypeAlias = tuple[Tensor, Tensor]


class Split(ABC):
    """Samples and targets in one fixed order, the same at every pass."""

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
        yield from zip(self.inputs.split(size), self._targets.split(size), strict=True)

    def targets(self) -> Tensor:
        return self._targets

    def head(self, count: int) -> CachedSplit:
        return CachedSplit(self.name, self.inputs[:count], self._targets[:count])

    def to(self, device: torch.device, dtype: torch.dtype) -> CachedSplit:
        """Return the split on `device`, floating inputs and targets in `dtype`."""
        return CachedSplit(self.name, _moved(self.inputs, device, dtype), _moved(self._targets, device, dtype))


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
