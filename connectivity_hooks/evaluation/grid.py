"""Which t to measure: all points of the path, an even grid where nothing is proven, and more around the worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectivity_hooks.paths.path import CONVEX, MEASURED, Guarantee, Path

_INSIDE = (0.25, 0.5, 0.75)
_FINEST = 1e-3


def interior(path: Path, guarantees: Sequence[Guarantee], segment: int, points: int) -> list[float]:
    """Return the t to measure strictly inside one segment.

    Args:
        path: The path.
        guarantees: What may be relied on, segment by segment.
        segment: Index of the segment.
        points: Size of the even grid on [0, 1] that measured segments take their share of.
    """
    left, right = (0.0, 1.0) if path.basis == "bezier" else path.positions[segment : segment + 2]
    shares = [left + share * (right - left) for share in _INSIDE]
    if guarantees[segment] == MEASURED:
        even = [t for t in np.linspace(0, 1, points).tolist() if left < t < right]
        # However short a segment's share of [0, 1] is, its weights may go far: it is looked into all the same.
        return even if len(even) >= min(len(_INSIDE), points - 2) else shares
    return shares if guarantees[segment] == CONVEX else []


def around_worst(path: Path, guarantees: Sequence[Guarantee], known: dict[float, float]) -> list[float]:
    """Return the midpoints beside the largest loss that lie in measured segments and are not too fine.

    Args:
        path: The path.
        guarantees: What may be relied on, segment by segment.
        known: Loss at each t measured so far.
    """
    ts = sorted(known)
    worst = max(range(len(ts)), key=lambda i: known[ts[i]])
    gaps = [(ts[i], ts[i + 1]) for i in (worst - 1, worst) if 0 <= i < len(ts) - 1]
    return [(a + b) / 2 for a, b in gaps if b - a > 2 * _FINEST and _measured(path, guarantees, (a + b) / 2)]


def _measured(path: Path, guarantees: Sequence[Guarantee], t: float) -> bool:
    segment = 0 if path.basis == "bezier" else path.segment(t)[0]
    return guarantees[segment] == MEASURED
