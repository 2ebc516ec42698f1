"""The samples that a correction measures on: drawn once, the same at every point of a path."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from connectivity_hooks.model import Inputs, concatenated, named_tensors, taken
from connectivity_hooks.tasks import CachedSplit, Split

SAMPLES = 16384
"""A mean over so many samples is within 1 % of a standard deviation; more would cost as much as the measurement."""

HELD = 1024**3
"""Bytes of inputs that are kept of a split that does not fit in memory, whose loader would else be read at every t."""


class DrawnSamples:
    """Samples of a split, drawn by an own generator, in random order, in batches of equal size.

    Data that is sorted by class gives the same statistics as shuffled data.

    Args:
        split: Where they are drawn: from all of it.
        batch_size: Samples of a batch; two where it is less, and a little less where they do not divide.
        samples: How many are drawn at most, of two or more.
        seed: Seed of the drawing.

    Attributes:
        rows: For each batch the rows of its samples among the inputs that are held.
    """

    def __init__(self, split: Split, batch_size: int, samples: int = SAMPLES, seed: int = 0) -> None:
        count = min(samples, len(split))
        if isinstance(split, CachedSplit):
            self._inputs, drawn = split.inputs, _drawn(len(split), count, seed)
        else:
            one = split.head(1).batches(1)
            bytes_each = sum(tensor.nbytes for inputs, _ in one for _, tensor in named_tensors(inputs))
            count = max(2, min(count, HELD // max(1, bytes_each)))
            self._inputs = concatenated([inputs for inputs, _ in split.sample(count, seed).batches(count)])
            drawn = torch.arange(count)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        number = max(1, min(-(-count // max(2, batch_size)), count // 2))
        self.rows = list(drawn[order].tensor_split(number))

    def batches(self) -> Iterator[Inputs]:
        """Yield the inputs of each batch; they are copies."""
        for rows in self.rows:
            yield taken(self._inputs, rows)

    def few(self, count: int) -> Inputs:
        """Return the inputs of the first `count` samples of the first batch."""
        return taken(self._inputs, self.rows[0][:count])


def _drawn(size: int, count: int, seed: int) -> Tensor:
    """Return the rows that `Split.sample` draws, of a split whose inputs are not to be copied."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count].sort().values
