"""L-BFGS directions for many problems at once (Nocedal and Wright 2006, algorithm 7.4)."""

from __future__ import annotations

import torch
from torch import Tensor

_MEMORY = 12
"""Steps remembered: 3 to 20 are usual (Nocedal and Wright 2006, 7.2); each costs two copies of the weights."""

_FLAT = 1e-30
"""Curvature along a step below which float32 says nothing of it, and the step teaches nothing."""


class Direction:
    """Directions for D problems whose variables are (D, C, n).

    Args:
        metric: Cholesky factors (D, n, n) of the initial Hessian of every class's row; None uses the identity.
    """

    def __init__(self, metric: Tensor | None) -> None:
        self._metric = metric
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, gradient: Tensor) -> Tensor:
        """Return the descent direction for a gradient."""
        q = gradient.clone()
        shares = []
        for moved, change, inverse in reversed(self._pairs):
            share = inverse * _dot(moved, q)
            shares.append(share)
            q -= share[:, None, None] * change
        r = self._initial(q)
        for (moved, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            r += (share - inverse * _dot(change, r))[:, None, None] * moved
        return -r

    def remember(self, moved: Tensor, change: Tensor, made: Tensor) -> None:
        """Take note of a step and the gradient's change; problems that made none (`made` is False) learn nothing."""
        product = _dot(moved, change)
        useful = made & (product > _FLAT)
        inverse = torch.where(useful, 1 / product.clamp_min(_FLAT), torch.zeros_like(product))
        self._pairs.append((moved, change, inverse))
        del self._pairs[:-_MEMORY]

    def _initial(self, q: Tensor) -> Tensor:
        r = q if self._metric is None else torch.cholesky_solve(q.transpose(1, 2), self._metric).transpose(1, 2)
        if not self._pairs:
            return r.clone()
        _moved, change, inverse = self._pairs[-1]
        scaled = (
            change
            if self._metric is None
            else torch.cholesky_solve(change.transpose(1, 2), self._metric).transpose(1, 2)
        )
        bent = _dot(change, scaled)
        gamma = torch.where((inverse > 0) & (bent > 0), 1 / (inverse * bent).clamp_min(_FLAT), torch.ones_like(bent))
        return gamma[:, None, None] * r


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2))
