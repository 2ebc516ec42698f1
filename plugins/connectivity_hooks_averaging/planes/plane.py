"""The plane through three checkpoints (Garipov et al. 2018, arXiv 1802.10026, appendix A.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights, same
from connectivity_hooks.paths import Path
from connectivity_hooks_averaging.planes.frame import Corner, Frame, Place, mixed

_FLAT = 1e-5
"""A corner nearer to the line through the others, as a share of the distances, lies on it as far as float32 tells."""


class Plane(Frame):
    """The plane through three checkpoints A, B and C, with A at (0, 0), B at (|B-A|, 0) and C above the line.

    With u = (B-A)/|B-A| and v the unit vector along what of C-A is at right angles to u, the weights at (x, y) are
    A + x·u + y·v. They are made as the mixture α·A + β·B + γ·C with α + β + γ = 1, so that u and v are never stored.
    All sums are over the parameters, in float64; buffers are mixed likewise, and integers are A's.

    Args:
        names: Of the three.
        weights: Of the three, with the same names and shapes.
        coordinates: Names of the parameters.
        subject: What tells these three from others, as JSON-ready values.

    Attributes:
        base: |B-A|.
        foot: x of C.
        height: y of C.

    Raises:
        InputError: Two of them are equal, or all lie on one line.
    """

    def __init__(
        self,
        names: tuple[str, str, str],
        weights: tuple[Weights, Weights, Weights],
        coordinates: Sequence[str],
        subject: Mapping[str, object],
    ) -> None:
        self._weights, self._coordinates = weights, coordinates
        _require_apart(names, weights, coordinates)
        self.base, self.foot, self.height = self._geometry()
        longest = max(self.base, math.hypot(self.foot, self.height))
        if not self.height > _FLAT * longest:
            raise InputError(
                f"plane: {', '.join(names)} lie on one line (as far as float32 tells), and a line has no plane; give a "
                "third checkpoint that is no mixture of the others"
            )
        a, b, c = weights
        self._moving = {
            key
            for key, each in a.items()
            if each.is_floating_point() and not (same(each, b[key]) and same(each, c[key]))
        }
        self.path = Path.from_points(weights)
        places = ((0.0, 0.0), (self.base, 0.0), (self.foot, self.height))
        self.corners = tuple(Corner(name, t, at) for name, t, at in zip(names, (0.0, 0.5, 1.0), places, strict=True))
        self.labels = (f"distance from {names[0]} towards {names[1]}", "distance at right angles to it")
        self.subject = subject

    def mixture(self, x: float, y: float) -> tuple[float, float, float]:
        """Return the shares of A, B and C at (x, y), which sum to 1."""
        c = y / self.height
        b = (x - c * self.foot) / self.base
        return 1 - b - c, b, c

    def inside(self, x: float, y: float) -> bool:
        """Say whether (x, y) lies in the triangle of the three."""
        return all(share >= -1e-9 for share in self.mixture(x, y))

    def place(self, *at: float) -> Place:
        """Return what writes the weights at (x, y)."""
        shares = self.mixture(*at)

        def write(into: Weights) -> None:
            for key, target in into.items():
                if key in self._moving:
                    mixed(zip(shares, (each[key] for each in self._weights), strict=True), target)
                else:
                    target.copy_(self._weights[0][key])

        return write

    def project(self, weights: Weights) -> tuple[float, float, float]:
        """Return x and y of the nearest point of the plane, and how far the weights lie from it."""
        along, beside = 0.0, 0.0
        for key, a, d, e in self._offsets():
            offset = (weights[key].to(a.device).double() - a).flatten()
            along += float(offset @ d)
            beside += float(offset @ e)
        slope = self.foot / self.base
        x, y = along / self.base, (beside - slope * along) / self.height
        _, b, c = self.mixture(x, y)
        square = 0.0
        for key, a, d, e in self._offsets():
            rest = (weights[key].to(a.device).double() - a).flatten().sub_(d, alpha=b).sub_(e, alpha=c)
            square += float(rest @ rest)
        return x, y, math.sqrt(square)

    def _geometry(self) -> tuple[float, float, float]:
        """Return |B-A|, and the two coordinates of C; the second from what is left, since differences would cancel."""
        square, dot = 0.0, 0.0
        for _, _, d, e in self._offsets():
            square += float(d @ d)
            dot += float(d @ e)
        left = 0.0
        for _, _, d, e in self._offsets():
            rest = e.sub_(d, alpha=dot / square)
            left += float(rest @ rest)
        base = math.sqrt(square)
        return base, dot / base, math.sqrt(left)

    def _offsets(self) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Yield the name, A, and B-A and C-A as vectors of each parameter, in float64."""
        a, b, c = self._weights
        for key in self._coordinates:
            start: Tensor = a[key].double()
            yield key, start, (b[key].double() - start).flatten(), (c[key].double() - start).flatten()


def _require_apart(names: Sequence[str], weights: Sequence[Weights], coordinates: Sequence[str]) -> None:
    for i, one in enumerate(weights):
        for j in range(i):
            if all(same(one[key], weights[j][key]) for key in coordinates):
                raise InputError(
                    f"plane: {names[j]} and {names[i]} have the same parameters; expected three checkpoints that differ"
                )
