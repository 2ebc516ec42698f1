"""What samples add to a mean: a sum and a weight each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Sums (N,) and weights (N,) of N samples; the mean over the data is Σ sums / Σ weights.

    A sample of T tokens weighs T less those that are ignored, so that every token that counts does so once, whatever
    the samples and batches they come in, as in PyTorch's ``reduction="mean"`` of all the data at once. A sample of
    which nothing counts weighs 0.

    Attributes:
        sums: Of each sample the sum over what counts of it.
        weights: Of each sample how much of it counts, ≥ 0.
    """

    sums: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.sums)

    def double(self) -> Terms:
        """Return the terms in float64."""
        return Terms(self.sums.double(), self.weights.double())

    def mean(self) -> Tensor:
        """Return Σ sums / Σ weights, a scalar that can be differentiated; NaN where nothing counts."""
        return self.sums.sum() / self.weights.sum()

    def values(self) -> Tensor:
        """Return each sample's own mean (N,), its sum over its weight; the sum of one that weighs nothing."""
        return self.sums / torch.where(self.weights > 0, self.weights, 1)


def joined(parts: Sequence[Terms]) -> Terms:
    """Return the terms of all samples of several batches."""
    if len(parts) == 1:
        return parts[0]
    return Terms(torch.cat([part.sums for part in parts]), torch.cat([part.weights for part in parts]))


def of_positions(values: Tensor, counted: Tensor | None = None) -> Terms:
    """Return the terms of values (N, …), one for each token, pixel or output of a sample.

    Args:
        values: Floating numbers; 0 where they do not count.
        counted: Whether each counts, bool (N, …); None where all do.
    """
    exact = torch.promote_types(values.dtype, torch.float32)  # in bfloat16 257 is 256
    if counted is None:
        each = math.prod(values.shape[1:])
        return Terms(sum_over_rest(values), values.new_full(values.shape[:1], each, dtype=exact))
    return Terms(sum_over_rest(values), sum_over_rest(counted.to(exact)))


def sum_over_rest(values: Tensor) -> Tensor:
    """Return the sums (N,) of values (N, …)."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def mean_over_rest(values: Tensor) -> Tensor:
    """Return the means (N,) of values (N, …)."""
    return values.flatten(1).mean(1) if values.ndim > 1 else values
