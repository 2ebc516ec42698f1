"""A uniform sample of a stream of unknown length, the same for every layer."""

from __future__ import annotations

import torch
from torch import Tensor


class Reservoir:
    """Keeps `size` of all rows that pass, each with equal chance (Vitter 1985, algorithm R, in batches).

    Every row gets a random key from an own generator; the rows with the smallest keys stay. Layers that see the same
    rows in the same order therefore keep the same ones.

    Args:
        size: Rows to keep.
        seed: Seed of the own generator; the global random state is never touched.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._seen = 0
        self.keys = torch.empty(0, dtype=torch.float64)
        self.indices = torch.empty(0, dtype=torch.int64)

    def offer(self, rows: int) -> Tensor:
        """Take note of `rows` more rows; return which of (those kept, then those new) stay, as indices."""
        keys = torch.cat([self.keys, torch.rand(rows, generator=self._generator, dtype=torch.float64)])
        indices = torch.cat([self.indices, torch.arange(self._seen, self._seen + rows)])
        self._seen += rows
        stay = keys.argsort()[: self._size].sort().values
        self.keys, self.indices = keys[stay], indices[stay]
        return stay
