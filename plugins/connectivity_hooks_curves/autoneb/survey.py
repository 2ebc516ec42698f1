"""Losses measured along a chain, and where it needs another pivot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BETWEEN = (0.25, 0.5, 0.75)
"""Where the loss between two pivots is measured: a hump that all three miss is narrower than half of the segment."""

_SHORTEST = 1e-3
"""A segment of a smaller share of the path is not divided: nothing that anyone evaluates lies inside it."""


@dataclass(frozen=True)
class Survey:
    """Losses along a chain of straight lines.

    Attributes:
        pivots: At its points, ends included.
        between: In each segment, at `BETWEEN`.
        shares: Of the whole length, of each segment.
    """

    pivots: Sequence[float]
    between: Sequence[Sequence[float]]
    shares: Sequence[float]

    @property
    def saddle(self) -> float:
        """The largest loss; infinite where one is not finite."""
        found = [*self.pivots, *(loss for losses in self.between for loss in losses)]
        return max(found) if all(math.isfinite(loss) for loss in found) else math.inf

    @property
    def range(self) -> float:
        """The largest loss less the smallest."""
        return self.saddle - min(*self.pivots, *(loss for losses in self.between for loss in losses))

    @property
    def rank(self) -> tuple[float, float]:
        """The saddle and the mean over the length; lower is better, and where an end is highest the mean decides."""
        if not math.isfinite(self.saddle):
            return math.inf, math.inf
        return self.saddle, math.fsum(share * self._mean(segment) for segment, share in enumerate(self.shares))

    def _mean(self, segment: int) -> float:
        """Return the mean of a segment by the trapezoidal rule."""
        left, right = self.pivots[segment : segment + 2]
        return ((left + right) / 2 + math.fsum(self.between[segment])) / (len(BETWEEN) + 1)

    def wanted(self, excess: float, most: int) -> list[tuple[int, float]]:
        """Return where pivots are to be inserted: segments, and how far along each; the last segment first.

        Draxler et al. 2018 (arXiv 1803.00885): where the loss exceeds what its neighbours' interpolation says by more
        than a share of the range.

        Args:
            excess: That share.
            most: Pivots to insert at most; those of the largest excess are.
        """
        if not math.isfinite(self.saddle) or most <= 0:
            return []
        worst = [(*max(self._excesses(segment)), segment) for segment in range(len(self.between))]
        found = [each for each in worst if each[0] > excess * self.range and self.shares[each[2]] >= _SHORTEST]
        chosen = sorted(found, reverse=True)[:most]
        return sorted(((segment, at) for _, at, segment in chosen), reverse=True)

    def _excesses(self, segment: int) -> list[tuple[float, float]]:
        left, right = self.pivots[segment : segment + 2]
        found = zip(BETWEEN, self.between[segment], strict=True)
        return [(loss - (left + at * (right - left)), at) for at, loss in found]
