"""Weights at given shares of several others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks.model import Weights, same
from connectivity_hooks_curves.training.curve import between


@torch.no_grad()
def combined(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Return Σ_i shares_i·tensors_i, computed in float64 and rounded once; what all agree on as it is.

    Args:
        tensors: Of one shape and type; infinities have to be shared by all. Of integers the first is returned.
        shares: Of each; none is negative, and they add up to 1.
    """
    first = tensors[0]
    if not first.is_floating_point() or all(same(first, other) for other in tensors[1:]):
        return first
    total, found = 0.0, first.double()
    for share, tensor in zip(shares, tensors, strict=True):
        if share > 0:
            total += share
            found = between(found, tensor.double(), share / total)
    return found.to(first.dtype)


def combined_weights(vertices: Sequence[Weights], shares: Sequence[float]) -> Weights:
    """Return the weights at given shares of several others, see `combined`; integers are those of the first."""
    return {name: combined([vertex[name] for vertex in vertices], shares) for name in vertices[0]}
