"""How the loss at some t comes about: by a forward pass there, or from the outputs at knots of the path."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.evaluation.measurement import Source
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, Path


@dataclass(frozen=True)
class Anchored:
    """Where the outputs at one t come from.

    Attributes:
        source: Forward pass at t itself, outputs of two others, or the outputs of one other.
        anchors: The t of the forward passes: one, or the two ends of a convex segment.
        share: How far the outputs lie from the first anchor's to the second's.
        kept: Whether the outputs serve a convex segment as well and should be kept.
    """

    source: Source
    anchors: tuple[float, ...]
    share: float = 0.0
    kept: bool = False


class Anchors:
    """Resolves any t of a path to where its outputs come from.

    Args:
        path: The path, with the guarantees that may be relied on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._twins = self._first_of_each_constant_run()

    def __call__(self, t: float) -> Anchored:
        """Return where the outputs at `t` come from."""
        segment, share = self._path.segment(t)
        if share == 0:
            return self._knot(segment)
        guarantee = self._path.guarantees[segment]
        if guarantee == MEASURED:
            return Anchored("forward", (t,))
        left, right = self._anchor(segment), self._anchor(segment + 1)
        if guarantee == CONSTANT:
            return Anchored("constant", (left,), kept=self._kept(segment))
        return Anchored("outputs", (left, right), share, kept=True)

    def _knot(self, index: int) -> Anchored:
        source: Source = "forward" if self._twins[index] == index else "constant"
        return Anchored(source, (self._anchor(index),), kept=self._kept(index))

    def _anchor(self, index: int) -> float:
        return self._path.knots[self._twins[index]]

    def _first_of_each_constant_run(self) -> list[int]:
        twins = [0]
        for index, guarantee in enumerate(self._path.guarantees, start=1):
            twins.append(twins[-1] if guarantee == CONSTANT else index)
        return twins

    def _kept(self, index: int) -> bool:
        run = [i for i, twin in enumerate(self._twins) if twin == self._twins[index]]
        beside = self._path.guarantees[max(0, run[0] - 1) : run[-1] + 1]
        return CONVEX in beside
