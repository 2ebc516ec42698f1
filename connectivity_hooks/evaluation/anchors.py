"""How the loss at some t comes about: by a forward pass there, or from the outputs at points of the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.evaluation.measurement import Source
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, Guarantee, Path


@dataclass(frozen=True)
class Site:
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


class Sites:
    """Resolves any t of a path to a `Site`.

    Args:
        path: The path.
        guarantees: What may be relied on, segment by segment.
    """

    def __init__(self, path: Path, guarantees: Sequence[Guarantee]) -> None:
        self._path = path
        self._guarantees = tuple(guarantees)
        self._twins = self._first_of_each_constant_run()

    def __call__(self, t: float) -> Site:
        """Return where the outputs at `t` come from."""
        if self._path.basis == "bezier":
            return Site("forward", (t,))
        index, share = self._path.segment(t)
        if share == 0:
            return self._knot(index)
        guarantee = self._guarantees[index]
        if guarantee == MEASURED:
            return Site("forward", (t,))
        left, right = self._anchor(index), self._anchor(index + 1)
        if guarantee == CONSTANT:
            return Site("constant", (left,), kept=self._kept(index))
        return Site("outputs", (left, right), share, kept=True)

    def _knot(self, index: int) -> Site:
        source: Source = "forward" if self._twins[index] == index else "constant"
        return Site(source, (self._anchor(index),), kept=self._kept(index))

    def _anchor(self, index: int) -> float:
        return self._path.positions[self._twins[index]]

    def _first_of_each_constant_run(self) -> list[int]:
        twins = [0]
        for index, guarantee in enumerate(self._guarantees, start=1):
            twins.append(twins[-1] if guarantee == CONSTANT else index)
        return twins

    def _kept(self, index: int) -> bool:
        run = [i for i, twin in enumerate(self._twins) if twin == self._twins[index]]
        beside = self._guarantees[max(0, run[0] - 1) : run[-1] + 1]
        return CONVEX in beside
