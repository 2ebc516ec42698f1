"""Which t to measure: all knots of the path, an even grid where nothing is proven, and more around the worst."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from connectivity_hooks.paths.path import CONVEX, MEASURED, Path

_INSIDE = (0.25, 0.5, 0.75)
"""Of a convex segment, whose loss is known to be convex: enough to draw it. Also of a measured one that the even grid
passes over."""

_FINEST = 1e-3
"""Between two t nearer than twice that none is tried: each costs a pass, and losses are smooth on that scale."""


def even(path: Path, points: int) -> Iterator[float]:
    """Yield the first t to measure: of each segment both ends, then the inside, at rising t.

    Args:
        path: The path, with the guarantees that may be relied on; likewise below.
        points: Size of the even grid on [0, 1] that measured segments take their share of.
    """
    yield path.knots[0]
    for segment in range(len(path.guarantees)):
        yield path.interval(segment)[1]
        yield from interior(path, segment, points)


def interior(path: Path, segment: int, points: int) -> list[float]:
    """Return the t to measure strictly inside one segment."""
    left, right = path.interval(segment)
    shares = [left + share * (right - left) for share in _INSIDE]
    if path.guarantees[segment] == MEASURED:
        own = [t for t in np.linspace(0, 1, points).tolist() if left < t < right]
        # However short a segment's share of [0, 1] is, its weights may go far: it is looked into all the same.
        return own if len(own) >= min(len(_INSIDE), points - 2) else shares
    return shares if path.guarantees[segment] == CONVEX else []


def around_worst(path: Path, known: dict[float, float]) -> list[float]:
    """Return the midpoints beside the largest loss that lie in measured segments and are not too fine.

    Args:
        path: The path.
        known: Loss at each t measured so far.
    """
    ts = sorted(known)
    worst = max(range(len(ts)), key=lambda i: known[ts[i]])
    gaps = [(ts[i], ts[i + 1]) for i in (worst - 1, worst) if 0 <= i < len(ts) - 1]
    middles = [(a + b) / 2 for a, b in gaps if b - a > 2 * _FINEST]
    return [t for t in middles if path.guarantee_at(t) == MEASURED]
