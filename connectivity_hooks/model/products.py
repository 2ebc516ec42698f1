"""Means of weights that a model only uses as a product of two, as LoRA's B·A: of the products, not of the factors.

For any invertible G the factors (B·G⁻¹, G·A) are the same model, so the mean of factors depends on a choice that means
nothing, and is not the mean of anything the models compute with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import Weights


@dataclass(frozen=True)
class ProductMean:
    """Factors of a mean of products.

    Attributes:
        weights: The factors by name, of the rank and the types that the first checkpoint's have.
        errors: By the left factor's name, ‖Σ wᵢ·Bᵢ·Aᵢ − B·A‖ / ‖Σ wᵢ·Bᵢ·Aᵢ‖, Frobenius, in float64.
    """

    weights: Weights
    errors: Mapping[str, float]


@torch.no_grad()
def mean_of_products(
    ends: Sequence[Mapping[str, Tensor]], pairs: Sequence[tuple[str, str]], shares: Sequence[float] | None = None
) -> ProductMean:
    """Return factors whose products are nearest to the means of products, Σ wᵢ·Bᵢ·Aᵢ / Σ wᵢ.

    The mean has up to the sum of all ranks; it is cut to the largest r singular values (Eckart and Young, 1936), so
    that the mean is a checkpoint of the same model. B and A get the roots of the singular values: ‖B‖ = ‖A‖. Factors
    whose products are the same in all, bit for bit as factors, stay as they are.

    Args:
        ends: Weights of each checkpoint.
        pairs: Names of B (out, r, …) and A (r, in, …): axes behind the second are joined with it.
        shares: wᵢ ≥ 0 of each checkpoint; equal ones if left out.

    Raises:
        InputError: A pair's shapes are no factors of a product, or differ between the checkpoints.
    """
    weights: Weights = {}
    errors: dict[str, float] = {}
    given = [1.0] * len(ends) if shares is None else list(shares)
    parts = [share / sum(given) for share in given]
    for left, right in pairs:
        bs, as_ = ([end[name] for end in ends] for name in (left, right))
        _require_factors(left, right, bs, as_)
        if all(torch.equal(bs[0], b) and torch.equal(as_[0], a) for b, a in zip(bs, as_, strict=True)):
            weights[left], weights[right], errors[left] = bs[0], as_[0], 0.0
            continue
        b = torch.cat([part * each.double().flatten(1) for part, each in zip(parts, bs, strict=True)], 1)
        a = torch.cat([each.double().flatten(1) for each in as_])
        new_b, new_a, errors[left] = _nearest(b, a, as_[0].shape[0])
        weights[left] = new_b.reshape(bs[0].shape).to(bs[0].dtype)
        weights[right] = new_a.reshape(as_[0].shape).to(as_[0].dtype)
    return ProductMean(weights, errors)


def _nearest(b: Tensor, a: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Return balanced factors of rank r of b (out, R) times a (R, in), and the error; (out, in) is not made."""
    left, from_left = torch.linalg.qr(b)
    right, from_right = torch.linalg.qr(a.T)
    u, values, v = torch.linalg.svd(from_left @ from_right.T)
    kept = min(rank, len(values))
    roots = values[:kept].sqrt()
    new_b, new_a = b.new_zeros(b.shape[0], rank), a.new_zeros(rank, a.shape[1])
    new_b[:, :kept] = left @ u[:, :kept] * roots
    new_a[:kept] = roots[:, None] * (v[:kept] @ right.T)
    size = float(values.norm())
    return new_b, new_a, float(values[kept:].norm()) / size if size else 0.0


def _require_factors(left: str, right: str, bs: Sequence[Tensor], as_: Sequence[Tensor]) -> None:
    shapes = {(tuple(b.shape), tuple(a.shape)) for b, a in zip(bs, as_, strict=True)}
    one_b, one_a = next(iter(shapes))
    if len(shapes) > 1 or len(one_b) < 2 or len(one_a) < 2 or bs[0].flatten(1).shape[1] != one_a[0]:
        found = " and ".join(f"{list(b)} times {list(a)}" for b, a in sorted(shapes))
        raise InputError(f"{left}, {right}: {found}, expected one (out, r) times (r, in) in all checkpoints")
