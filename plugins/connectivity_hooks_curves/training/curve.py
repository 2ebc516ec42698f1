"""Control points and the parameters at t they stand for, as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Curve:
    """A curve from one vector of parameters to another, with control points between them that can be trained.

    φ(t) = Σ_i c_i(t)·w_i (Garipov et al. 2018, section 3.1), w_0 and w_k the ends. Memory: the ends, the control
    points, and nothing besides.

    Args:
        points: Vectors (P,) of all control points, ends included.
        basis: ``bezier``, c_i(t) = C(k,i)·(1−t)^(k−i)·t^i, or ``polyline``, c_i(t) = max(0, 1 − |k·t − i|).
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
        last = len(self.points) - 1
        if self.basis == "bezier":
            return [math.comb(last, i) * (1 - t) ** (last - i) * t**i for i in range(last + 1)]
        return [max(0.0, 1 - abs(last * t - i)) for i in range(last + 1)]

    @torch.no_grad()
    def write(self, t: float, out: Tensor) -> None:
        """Write φ(t) into a vector."""
        first = True
        for share, point in zip(self.coefficients(t), self.points, strict=True):
            if share == 0:
                continue
            if first:
                torch.mul(point, share, out=out)
                first = False
            else:
                out.add_(point, alpha=share)

    @torch.no_grad()
    def gradients(self, t: float, gradient: Tensor, out: Sequence[Tensor]) -> None:
        """Write c_i(t)·∂L/∂φ, the gradient of each trained control point, into vectors."""
        for share, target in zip(self.coefficients(t)[1:-1], out, strict=True):
            torch.mul(gradient, share, out=target)


def straight(a: Tensor, b: Tensor, bends: int) -> list[Tensor]:
    """Return control points evenly spaced on the straight line, ends included."""
    return [a, *(torch.lerp(a, b, (i + 1) / (bends + 1)) for i in range(bends)), b]
