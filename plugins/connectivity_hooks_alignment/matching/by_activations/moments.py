"""Means, variances and cross-covariances of two networks' neurons, added up batch by batch in float64."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 2**23
"""Numbers taken to float64 at a time, 64 MB, whatever the batch is."""


class Moments:
    """Of K copies of n neurons in either network, over all rows seen.

    Memory: K·n² numbers in float64, K²·n² with `pairs`; the rows themselves are not kept.

    Args:
        pairs: Whether each copy of the one is seen beside every copy of the other.

    Attributes:
        rows: How many were seen.
    """

    def __init__(self, pairs: bool) -> None:
        self._pairs = pairs
        self.rows = 0

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add rows (K, S, n) of either network, on the same samples."""
        if self.rows == 0:
            self._start(a, b)
        size = max(1, AT_ONCE // (len(a) * a.shape[2]))
        for one, other in zip(a.split(size, 1), b.split(size, 1), strict=True):
            # Moments about a point near the mean: nothing cancels where a mean is large beside its variance.
            x, y = (each.double() - origin for each, origin in zip((one, other), self._origins, strict=True))
            self._sums += torch.stack([x.sum(1), y.sum(1)])
            self._squares += torch.stack([x.square().sum(1), y.square().sum(1)])
            self._cross += self._product(x, y)
        self.rows += a.shape[1]

    def covariances(self) -> Tensor:
        """Return the centred cross-covariances, (K, n, n) of each copy with the same copy, or (K, K, n, n)."""
        return self._cross / self.rows - self._outer(*(self._sums / self.rows))

    def products(self) -> Tensor:
        """Return the same about zero: the means of products."""
        return self.covariances() + self._outer(*self._means())

    def variances(self) -> Tensor:
        """Return (2, K, n); 0 for a neuron that changes by no more than rounding of the type its values came in."""
        found = (self._squares / self.rows - (self._sums / self.rows).square()).clamp_min(0)
        return torch.where(found > self._rounding**2 * (found + self._means().square()), found, 0)

    def squares(self) -> Tensor:
        """Return the same about zero, (2, K, n)."""
        return self.variances() + self._means().square()

    def is_finite(self) -> tuple[bool, bool]:
        """Return for either network whether all that was seen of it are finite numbers."""
        first, second = self._squares.isfinite().flatten(1).all(1).tolist()
        return first, second

    def _start(self, a: Tensor, b: Tensor) -> None:
        copies, _, width = a.shape
        shape = (copies, copies, width, width) if self._pairs else (copies, width, width)
        self._origins = [each.double().mean(1, keepdim=True) for each in (a, b)]
        self._rounding = torch.finfo(a.dtype).eps
        self._sums, self._squares = (a.new_zeros(2, copies, width, dtype=torch.float64) for _ in range(2))
        self._cross: Tensor = a.new_zeros(shape, dtype=torch.float64)

    def _means(self) -> Tensor:
        return self._sums / self.rows + torch.stack([origin[:, 0] for origin in self._origins])

    def _outer(self, x: Tensor, y: Tensor) -> Tensor:
        """Return products (K, n, n) of vectors (K, n), or (K, K, n, n)."""
        return x[:, None, :, None] * y[None, :, None, :] if self._pairs else x[..., None] * y[:, None]

    def _product(self, x: Tensor, y: Tensor) -> Tensor:
        if not self._pairs:
            return x.mT @ y
        copies, _, width = x.shape
        flat = [each.transpose(0, 1).flatten(1) for each in (x, y)]
        return (flat[0].T @ flat[1]).view(copies, width, copies, width).transpose(1, 2)
