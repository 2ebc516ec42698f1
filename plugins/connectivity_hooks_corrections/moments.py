"""Means and standard deviations of channels, over batches, and the affine maps that give channels others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDING = 100
"""Units of the last place that rounding makes of a sum of hundreds; coarser types than float32 are summed in it."""


class Statistics(NamedTuple):
    """Of every channel.

    Attributes:
        mean: (C,) float64.
        std: (C,) float64, of the population: divided by the number of values.
    """

    mean: Tensor
    std: Tensor

    def lerp(self, other: Statistics, share: float) -> Statistics:
        """Return means and deviations at a share of the way to others."""
        return Statistics(self.mean.lerp(other.mean, share), self.std.lerp(other.std, share))


class Moments:
    """Means and deviations of all values so far, summed in float64 by the update of Chan, Golub and LeVeque (1979).

    Attributes:
        count: Values of each channel.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take values (R, C): samples and positions, and channels; there may be none."""
        if len(values):
            wide = values.to(torch.float64, copy=True)
            mean = wide.mean(0)
            self._join(len(values), mean, wide.sub_(mean).square_().sum(0))

    def add_all(self, other: Moments) -> None:
        """Take all values that another has."""
        if other._mean is not None and other._squares is not None:
            self._join(other.count, other._mean, other._squares)

    def statistics(self) -> Statistics | None:
        """Return those of all values; None where there were none."""
        if self._mean is None or self._squares is None:
            return None
        return Statistics(self._mean, (self._squares / self.count).sqrt())

    def _join(self, count: int, mean: Tensor, squares: Tensor) -> None:
        if self._mean is None or self._squares is None:
            self.count, self._mean, self._squares = count, mean, squares
            return
        total, away = self.count + count, mean - self._mean
        self._squares = self._squares + squares + away.square() * (self.count * count / total)
        self._mean = self._mean + away * (count / total)
        self.count = total


def matching(found: Statistics, target: Statistics, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return factor and shift, (C,) float64 each, for which factor · x + shift has the target's statistics.

    A channel that is constant keeps its deviation of zero, and gets the target's mean: its factor is 1. One whose
    statistics overflowed is left as it is.

    Args:
        found: Statistics of x.
        target: Those wanted.
        dtype: The type that x was computed in; what its rounding explains is no deviation.
    """
    constant = found.std <= _rounding(dtype) * found.mean.abs()
    factor = torch.where(constant, torch.ones_like(found.std), target.std / found.std)
    shift = target.mean - factor * found.mean
    usable = factor.isfinite() & shift.isfinite()
    return torch.where(usable, factor, 1.0), torch.where(usable, shift, 0.0)


def _rounding(dtype: torch.dtype) -> float:
    """Return by how much the values of a constant channel may deviate, relative to their size."""
    eps = torch.finfo(dtype).eps
    return max(eps, _ROUNDING * min(eps, torch.finfo(torch.float32).eps))
