"""Per-sample scores at any t, with as few forward passes as the path's guarantees allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.evaluation.anchors import Anchored, Anchors
from connectivity_hooks.evaluation.measurement import SampleScores, Source, score
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.tasks.loss import joined
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.convexity import between

Batches: TypeAlias = list[tuple[Tensor, Tensor]]
"""Outputs and targets."""


class Scorer:
    """Scores a path's points on one split.

    Holds the scores of both ends, of the last forward pass and of points scored together until they are asked for, and
    where convex segments need them the outputs of two neighbouring ones, in the batches they came in.

    Args:
        passes: Makes forward passes.
        anchors: Says which t need one.
        task: Gives the loss.
        split: The split.
    """

    def __init__(self, passes: Passes, anchors: Anchors, task: Task, split: Split) -> None:
        self._passes = passes
        self._anchors = anchors
        self._task = task
        self._split = split
        self._outputs: dict[float, Batches] = {}
        self._scores: dict[float, SampleScores] = {}
        self._ready: dict[float, SampleScores] = {}
        self._ends = {*anchors(0.0).anchors, *anchors(1.0).anchors}

    def starting_with(self, scores: SampleScores | None) -> None:
        """Take the scores at t = 0 as known, where they are and where no other t stands for it."""
        if scores is not None and self._anchors(0.0).anchors == (0.0,):
            self._scores[0.0] = scores

    @property
    def start(self) -> SampleScores | None:
        """The scores at t = 0, where they were measured."""
        return self._scores.get(0.0)

    def __call__(self, t: float) -> tuple[SampleScores, Source]:
        """Return the scores at `t` and how they came about."""
        here = self._anchors(t)
        if len(here.anchors) == 2:
            left, right = (self._outputs_at(anchor) for anchor in here.anchors)
            return self._between(left, right, here.share), here.source
        return self._scores_at(here), here.source

    def alone(self, t: float) -> bool:
        """Say whether `t` needs a forward pass of which nothing but the scores is kept; the ends' are kept for all."""
        here = self._anchors(t)
        return here.source == "forward" and not here.kept and t not in self._ends

    def prepare(self, ts: Sequence[float]) -> None:
        """Score together some t that are `alone`; the scores of each are held until it is asked for."""
        self._ready = dict(zip(ts, self._passes.scores(ts, self._split, self._task.loss), strict=True))

    def _scores_at(self, here: Anchored) -> SampleScores:
        (anchor,) = here.anchors
        if anchor not in self._scores:
            self._scores = {t: scores for t, scores in self._scores.items() if t in self._ends}
            ready = self._ready.pop(anchor, None)
            self._scores[anchor] = ready or self._forward(anchor, here.kept)
        return self._scores[anchor]

    def _forward(self, anchor: float, kept: bool) -> SampleScores:
        batches = self._outputs_at(anchor) if kept else self._passes.scored(anchor, self._split)
        return score(batches, self._task.loss)

    def _outputs_at(self, anchor: float) -> Batches:
        if anchor not in self._outputs:
            if len(self._outputs) == 2:
                del self._outputs[max(self._outputs, key=lambda other: abs(other - anchor))]
            self._outputs[anchor] = list(self._passes.scored(anchor, self._split))
        return self._outputs[anchor]

    def _between(self, left: Batches, right: Batches, share: float) -> SampleScores:
        """Score the outputs on the straight line between two, and see whether the loss is convex along it."""
        loss, found, errors = self._task.loss, [], []
        for (a, targets), (b, _) in zip(left, right, strict=True):
            outputs, *rest = between(loss, a, b, targets, share)
            found.append(rest)
            if loss.errors is not None:
                errors.append(loss.errors(outputs, targets))
        losses, bends, rounding = zip(*found, strict=True)
        return SampleScores(joined(losses), joined(errors) if errors else None, torch.cat(bends), torch.cat(rounding))
