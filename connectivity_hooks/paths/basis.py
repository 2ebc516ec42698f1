"""The two ways from point to point: everything that depends on which one a path takes is decided here, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Basis:
    """How the weights between a path's points come about.

    Attributes:
        name: Its name in the path file.
        straight: Whether the path goes straight from point to point. Then every point lies on it, and every two
            neighbours are a segment of their own, of which something may be guaranteed. Otherwise the points between
            the ends are control points, and the whole path is one segment.
        most: Points a path can have.
    """

    name: str
    straight: bool
    most: int

    def knots(self, positions: Sequence[float]) -> tuple[float, ...]:
        """Return the t at which segments meet, from 0 to 1."""
        return tuple(positions) if self.straight else (positions[0], positions[-1])


POLYLINE = Basis(
    name="polyline",
    straight=True,
    # Finer than any path that can be measured; points that change nothing take no room in a file, 200 bytes in memory.
    most=1_000_000,
)
BEZIER = Basis(
    name="bezier",
    straight=False,
    # From degree 1030 on a binomial coefficient no longer fits a float64, and the curve could not be computed.
    most=1_001,
)

BASES = {basis.name: basis for basis in (POLYLINE, BEZIER)}


def basis_named(name: str) -> Basis:
    """Return the basis of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in BASES:
        raise ValueError(f"basis: expected {' or '.join(BASES)}, found {name!r}")
    return BASES[name]
