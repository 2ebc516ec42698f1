"""Control points and the parameters at t they stand for, as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


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

    def coefficients(self, t: float) -> list[float]:
        """Return c_i(t) for every control point."""
        return coefficients(self.basis, len(self.points), t)

    @torch.no_grad()
    def write(self, t: float, out: Tensor) -> None:
        """Write φ(t) into a vector (P,), rounded once where it is of a coarser type."""
        coarse = out.dtype != self.points[0].dtype
        target = torch.empty_like(self.points[0]) if coarse else out
        first = True
        for share, point in zip(self.coefficients(t), self.points, strict=True):
            if share == 0:
                continue
            if first:
                torch.mul(point, share, out=target)
                first = False
            else:
                target.add_(point, alpha=share)
        if coarse:
            out.copy_(target)

    @torch.no_grad()
    def gradients(self, t: float, gradient: Tensor, out: Sequence[Tensor], scale: Tensor | None = None) -> None:
        """Write c_i(t)·∂L/∂φ, the gradient of each trained control point, into vectors; times `scale` if given."""
        for share, target in zip(self.coefficients(t)[1:-1], out, strict=True):
            if scale is None:
                torch.mul(gradient, share, out=target)
            else:
                torch.mul(gradient, share * scale.to(target), out=target)


def straight(a: Tensor, b: Tensor, bends: int) -> list[Tensor]:
    """Return control points evenly spaced on the straight line, ends included."""
    return [a, *(between(a, b, (i + 1) / (bends + 1)) for i in range(bends)), b]


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return the values at a share of the way from `a` to `b`; where both are equal, infinities too, just these."""
    return torch.where(a == b, a, torch.lerp(a, b, share))
