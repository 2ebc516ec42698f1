"""Which places of a frame are measured: an even grid around its corners and around what is projected onto it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 501
"""Points along an axis."""

LEAST_REACH, MOST_REACH = 1e-6, 1e3
"""How far a slice goes: less, and float32 does not tell its places apart; nothing is left of a network at the most."""


@dataclass(frozen=True)
class Grid:
    """An even grid.

    Attributes:
        axes: The coordinates along each axis, rising.
    """

    axes: tuple[tuple[float, ...], ...]

    def places(self) -> list[tuple[float, ...]]:
        """Return all places, row by row from the lowest, each row from its left."""
        if len(self.axes) == 1:
            return [(x,) for x in self.axes[0]]
        xs, ys = self.axes
        return [(x, y) for y in ys for x in xs]


def around(places: Sequence[tuple[float, ...]], margin: float, points: int) -> Grid:
    """Return the grid of `points` along each axis over all places and a margin.

    Args:
        places: What has to be on it.
        margin: Added on each side, as a share of the larger of both extents.
        points: Along each axis.
    """
    spans = [(min(values), max(values)) for values in zip(*places, strict=True)]
    more = margin * max(high - low for low, high in spans)
    return Grid(tuple(_even(low - more, high + more, points) for low, high in spans))


def centred(reach: float, points: int, axes: int) -> Grid:
    """Return the grid from -reach to reach along each axis."""
    return Grid((_spaced(-reach, reach, points),) * axes)


def _even(low: float, high: float, points: int) -> tuple[float, ...]:
    """Space points evenly between bounds that are moved outwards to three figures.

    A killed run finds its places again though sums over weights differ in their last digits.
    """
    step = 10 ** (math.floor(math.log10(high - low)) - 2)
    return _spaced(math.floor(low / step) * step, math.ceil(high / step) * step, points)


def _spaced(low: float, high: float, points: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * i / (points - 1) for i in range(points))
