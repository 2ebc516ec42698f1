"""The nearest element of a group, for one space: assignment for permutations, Procrustes for rotations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Group


def nearest(group: Group, products: Tensor) -> Element:
    """Return the element g of a group with the largest Σ_ij g_ij C_ij, for each copy.

    With C = A·Bᵀ of rows that belong to the neurons, g·B is the nearest to A. GL is taken for O: an invertible matrix
    has no size that the products alone would bound.

    Args:
        group: The group; factors are not looked for.
        products: C, (K, n, n), in float64.
    """
    products = _bounded(products)
    if Group.TURN in group:
        return Element(matrix=_polar(products))
    if Group.TURN_BESIDE_ONES in group:
        return Element(matrix=_polar_around_ones(products))
    flips = Group.FLIP in group
    order = assignment(products.abs() if flips else products)
    if not flips:
        return Element(order=order)
    signs = torch.take_along_dim(products, order[..., None], 2)[..., 0].sign()
    return Element(order=order, factors=torch.where(signs == 0, 1.0, signs))


def gain(group: Group, products: Tensor) -> Tensor:
    """Return the largest Σ_ij g_ij C_ij over a group, for each matrix (…, n, n)."""
    products = _bounded(products)
    if Group.TURN in group or Group.TURN_BESIDE_ONES in group:
        sizes: Tensor = torch.linalg.svdvals(products)
        return sizes.sum(-1)
    flat = products.flatten(0, -3)
    best = assignment(flat.abs() if Group.FLIP in group else flat)
    found = torch.take_along_dim(flat, best[..., None], 2)[..., 0]
    return (found.abs() if Group.FLIP in group else found).sum(-1).view(products.shape[:-2])


def assignment(scores: Tensor) -> Tensor:
    """Return for each row of (K, n, n) its own column, with the largest sum of scores."""
    from scipy.optimize import linear_sum_assignment  # half a second, which no other command should wait for

    found = [linear_sum_assignment(one, maximize=True)[1] for one in _bounded(scores.cpu().double()).numpy()]
    return torch.stack([torch.as_tensor(columns) for columns in found])


def _bounded(products: Tensor) -> Tensor:
    """Return products without overflow: weights of size 1e20 have products that float32 does not hold."""
    largest = torch.finfo(products.dtype).max ** 0.5
    return products.nan_to_num(0.0, largest, -largest)


def _polar(products: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(products)
    rotation: Tensor = left @ right
    return rotation


def _polar_around_ones(products: Tensor) -> Tensor:
    width = products.shape[-1]
    first = torch.eye(width, dtype=products.dtype, device=products.device)
    first[:, 0] = 1 / math.sqrt(width)
    beside = torch.linalg.qr(first).Q[:, 1:]
    turned: Tensor = beside @ _polar(beside.T @ products @ beside) @ beside.T + 1 / width
    return turned
