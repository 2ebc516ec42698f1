"""Least squares from features to given outputs, in closed form: one product of the features with themselves."""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 1e-6
"""Of the mean squared feature: far above what float64 rounds, 1e-16, and below what moves a well-posed fit."""

CHUNK = 1024
"""Samples that are centred or widened to float64 at a time: a few MB instead of a copy of all."""


@torch.no_grad()
def fit_least_squares(features: Tensor, outputs: Tensor, *, intercept: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return the affine map of features that is closest to given outputs in the mean square.

    A ridge of 1e-6 of the mean squared feature keeps dependent and dead features harmless. Time: N·n·(n+C)
    multiplications, n³ in float64; memory: a thousand samples' features.

    Args:
        features: (N, n), finite.
        outputs: (N, C).
        intercept: Whether the map has a bias.

    Returns:
        Weight (C, n) and bias (C,), or None without intercept.
    """
    mean, target = features.mean(0) * intercept, outputs.mean(0) * intercept
    moments = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
    products = torch.zeros(features.shape[1], outputs.shape[1], dtype=torch.float64, device=features.device)
    for some, wanted in zip(features.split(CHUNK), outputs.split(CHUNK), strict=True):
        centred = some - mean
        moments += centred.T @ centred / len(features)
        products += centred.T @ (wanted - target) / len(features)
    weight = solve(moments, products).T.to(features)
    return weight, target - weight @ mean if intercept else None


def solve(moments: Tensor, products: Tensor) -> Tensor:
    """Return the weights (n, C) for second moments (n, n) of features and products (n, C) with outputs, in float64."""
    ridge = _RIDGE * moments.diagonal().mean() + torch.finfo(torch.float64).tiny
    weights: Tensor = torch.linalg.solve(moments + ridge * torch.eye(len(moments)).to(moments), products)
    return weights
