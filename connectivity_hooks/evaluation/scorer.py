"""Per-sample scores at any t, with as few forward passes as the path's guarantees allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from connectivity_hooks.evaluation.measurement import SampleScores, Source, score
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.evaluation.sites import Site, Sites
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task


class Scorer:
    """Scores a path's points on one split.

    Holds the scores of both ends and of the last forward pass, and where convex segments need them the outputs (N, C)
    of two neighbouring ones.

    Args:
        passes: Makes forward passes.
        sites: Says which t need one.
        task: Gives the loss and the batch size.
        split: The split.
    """

    def __init__(self, passes: Passes, sites: Sites, task: Task, split: Split) -> None:
        self._passes = passes
        self._sites = sites
        self._task = task
        self._split = split
        self._outputs: dict[float, Tensor] = {}
        self._scores: dict[float, SampleScores] = {}
        self._ends = {*sites(0.0).anchors, *sites(1.0).anchors}

    def __call__(self, t: float) -> tuple[SampleScores, Source]:
        """Return the scores at `t` and how they came about."""
        site = self._sites(t)
        if len(site.anchors) == 2:
            left, right = (self._outputs_at(anchor) for anchor in site.anchors)
            return self._score(self._between(left, right, site.share)), site.source
        return self._scores_at(site), site.source

    def _scores_at(self, site: Site) -> SampleScores:
        (anchor,) = site.anchors
        if anchor not in self._scores:
            self._scores = {t: scores for t, scores in self._scores.items() if t in self._ends}
            self._scores[anchor] = self._forward(anchor, site.kept)
        return self._scores[anchor]

    def _forward(self, anchor: float, kept: bool) -> SampleScores:
        if kept:
            return self._score(self._parts(self._outputs_at(anchor)))
        return score(self._passes.scored(anchor, self._split), self._task.loss)

    def _outputs_at(self, anchor: float) -> Tensor:
        if anchor not in self._outputs:
            if len(self._outputs) == 2:
                del self._outputs[max(self._outputs, key=lambda other: abs(other - anchor))]
            self._outputs[anchor] = self._passes.outputs(anchor, self._split)
        return self._outputs[anchor]

    def _score(self, outputs: Iterable[Tensor]) -> SampleScores:
        targets = self._split.targets().split(self._task.batch_size)
        return score(((part, own.to(part.device)) for part, own in zip(outputs, targets, strict=True)), self._task.loss)

    def _parts(self, outputs: Tensor) -> Iterator[Tensor]:
        yield from outputs.split(self._task.batch_size)

    def _between(self, left: Tensor, right: Tensor, share: float) -> Iterator[Tensor]:
        # In float64, so that a loss seen above the line between the ends is the loss's doing, and not rounding's.
        for a, b in zip(self._parts(left), self._parts(right), strict=True):
            yield torch.lerp(a.double(), b.double(), share)
