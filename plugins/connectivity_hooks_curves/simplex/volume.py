"""The volume of a simplex in a space of millions of dimensions, and in which direction it grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

_CHUNK = 2**16
"""Numbers of each vertex at once: they stay in a processor's cache; four times as many took twice as long."""

_FLAT = 1e-12
"""Of a Gram matrix with ones on its diagonal: eigenvalues below it may be rounding of millions of products."""


def differences(points: Sequence[Tensor], dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield parts (V−1, C) of the differences of V vectors (P,) from the first, in a type, and where they are."""
    for begin in range(0, points[0].numel(), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        base = points[0][part].to(dtype)
        yield part, torch.stack([point[part].to(dtype) - base for point in points[1:]])


@torch.no_grad()
def gram(parts: Iterable[Sequence[Tensor]], *, exact: bool = True) -> Tensor:
    """Return the inner products (V−1, V−1) of the differences of V points from the first, in float64.

    Args:
        parts: The points' coordinates: each part holds V vectors (P,), of one type and device.
        exact: Compute in float64; otherwise in the points' own type, added up in float64: a third of the time, and
            digits enough for a gradient.
    """
    found: Tensor | None = None
    for points in parts:
        for _, rows in differences(points, torch.float64 if exact else points[0].dtype):
            product = (rows @ rows.T).double()
            found = product if found is None else found + product.to(found.device)
    if found is None:
        raise ValueError("a simplex needs coordinates")
    return found


def log_volume(products: Tensor) -> float:
    """Return log V of the simplex that has these inner products of its edges from one vertex; −inf where it is flat.

    V = √det(G) / d!, which is what the Cayley–Menger determinant of the squared distances gives. Edges are scaled to
    length 1 first, so that a long one hides no short one.

    Args:
        products: (d, d) in float64, see `gram`.
    """
    lengths = products.diagonal().clamp_min(0).sqrt()
    if not bool((lengths > 0).all()):
        return -math.inf
    values = torch.linalg.eigvalsh(products / lengths / lengths[:, None])
    if not float(values[0]) > _FLAT:
        return -math.inf
    logarithms = lengths.log().sum() + values.log().sum() / 2
    return float(logarithms) - math.lgamma(len(products) + 1)


def log_sum(logarithms: Sequence[float]) -> float:
    """Return the logarithm of the sum of numbers that are given by theirs; −inf of none."""
    largest = max(logarithms, default=-math.inf)
    if math.isinf(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(each - largest) for each in logarithms))


def growth(products: Tensor, simplices: Sequence[Sequence[int]]) -> Tensor:
    """Return how log Σ_s V_s grows with the V points of simplices that share the first of them.

    ∂ log V_s / ∂(edge r) = Σ_q (G⁻¹)_rq·(edge q); each simplex counts with its part of the whole volume.

    Args:
        products: (V−1, V−1) in float64, see `gram`.
        simplices: For each simplex which rows of `products` are its edges.

    Returns:
        (V, V−1): point i moves along the sum of the differences from the first with these factors. Nothing waits for
        the device; where a simplex is flat the factors are not finite.
    """
    logarithms, inverses = [], []
    for rows in simplices:
        index = torch.tensor(rows, device=products.device)
        own = products[index[:, None], index]
        lengths = own.diagonal().sqrt()
        lower, _ = torch.linalg.cholesky_ex(own / lengths / lengths[:, None])
        logarithms.append(lengths.log().sum() + lower.diagonal().log().sum())
        inverse = torch.zeros_like(products)
        inverse[index[:, None], index] = torch.cholesky_inverse(lower) / lengths / lengths[:, None]
        inverses.append(inverse)
    parts = torch.stack(logarithms).softmax(0)
    edges = (torch.stack(inverses) * parts[:, None, None]).sum(0)
    return torch.cat([-edges.sum(0, keepdim=True), edges])
