"""Control points and the parameters at t they stand for, as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Place: TypeAlias = Any
"""Where on what is trained: t of a curve, shares of the vertices of a simplex."""


def coefficients(basis: str, count: int, t: float) -> list[float]:
    """Return c_i(t), the share that each of `count` control points has of φ(t).

    Garipov et al. 2018 (arXiv 1802.10026), section 3.1, with k = `count` - 1.

    Args:
        basis: ``bezier``, c_i(t) = C(k,i)·(1−t)^(k−i)·t^i, or ``polyline``, c_i(t) = max(0, 1 − |k·t − i|).
        count: Control points, ends included.
        t: In [0, 1].
    """
    last = count - 1
    if basis == "bezier":
        return [math.comb(last, i) * (1 - t) ** (last - i) * t**i for i in range(count)]
    return [max(0.0, 1 - abs(last * t - i)) for i in range(count)]


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type control points are held in: float32 where weights are coarser, which lose small steps."""
    return torch.promote_types(dtype, torch.float32)


class Curve:
    """A curve from one vector of parameters to another, with control points between them that can be trained.

    φ(t) = Σ_i c_i(t)·w_i, w_0 and w_k the ends.

    Args:
        points: Vectors (P,) of all control points, ends included.
        basis: See `coefficients`.
    """

    def __init__(self, points: Sequence[Tensor], basis: str) -> None:
        self.points = list(points)
        self.basis = basis

    @property
    def trained(self) -> list[Tensor]:
        """The control points between the ends."""
        return self.points[1:-1]

    def shares(self, t: float) -> list[float]:
        """Return c_i(t) of every control point between the ends."""
        return self._coefficients(t)[1:-1]

    def begun(self) -> list[Tensor]:
        """Return where the control points between the ends begin: evenly spaced on the straight line."""
        return straight(self.points[0], self.points[-1], len(self.points) - 2)[1:-1]

    def write(self, t: float, out: Tensor) -> None:
        """Write φ(t) into a vector (P,), see `write_combination`."""
        write_combination(self._coefficients(t), self.points, out)

    def _coefficients(self, t: float) -> list[float]:
        return coefficients(self.basis, len(self.points), t)


@torch.no_grad()
def write_combination(shares: Sequence[float], points: Sequence[Tensor], out: Tensor) -> None:
    """Write Σ_i shares_i·points_i into a vector (P,), rounded once where it is of a coarser type.

    A chain of ``lerp``, which is one pass less than sums of products, and leaves alone what all points agree on.

    Args:
        shares: Of each point; none is negative, and they add up to 1.
        points: Vectors (P,).
        out: Where it is written.
    """
    (total, found), *others = [(share, point) for share, point in zip(shares, points, strict=True) if share > 0]
    target = out if out.dtype == found.dtype else torch.empty_like(found)
    for share, point in others:
        total += share
        found = torch.lerp(found, point, share / total, out=target)
    if found is not out:
        out.copy_(found)


@torch.no_grad()
def write_scaled(source: Sequence[Tensor | None], scale: float | Tensor, out: Sequence[Tensor]) -> None:
    """Write tensors times a number into others of the same shapes; 0 where there is none."""
    there = [
        (tensor.to(target.dtype), target) for tensor, target in zip(source, out, strict=True) if tensor is not None
    ]
    if len(there) < len(out):
        for tensor, target in zip(source, out, strict=True):
            if tensor is None:
                target.zero_()
    if there and launches(out):
        tensors, targets = (list(each) for each in zip(*there, strict=True))
        torch._foreach_copy_(targets, torch._foreach_mul(tensors, scale))
        return
    for tensor, target in there:
        torch.mul(tensor, scale, out=target)


def launches(tensors: Sequence[Tensor]) -> bool:
    """Say whether many small operations are better one large one: an accelerator takes longer to be told than to do."""
    return bool(tensors) and tensors[0].device.type == "cuda"


def straight(a: Tensor, b: Tensor, bends: int) -> list[Tensor]:
    """Return control points evenly spaced on the straight line, ends included."""
    return [a, *(between(a, b, (i + 1) / (bends + 1)) for i in range(bends)), b]


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return the values at a share of the way from `a` to `b`; where both are equal, infinities too, just these."""
    return torch.where(a == b, a, torch.lerp(a, b, share))
