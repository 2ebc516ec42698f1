"""What came of averaging: the mean, its members, what was left out, and the verdict."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectivity_hooks.checkpoints import Checkpoint, require_function, write_like
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.model import Weights
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.scores import Scores
from connectivity_hooks_averaging.soups.choice import Joining, LeftOut
from connectivity_hooks_averaging.soups.words import verdict_of

_ROUNDING = 1e-6
"""By this share of the worst member's loss the mean may be above it: sums in another order."""


@dataclass(frozen=True)
class Near:
    """Two checkpoints that alignment has made nearly the same, and their distance as a share of the weights' size."""

    a: str
    b: str
    distance: float


@dataclass(frozen=True)
class Average:
    """The mean of checkpoints that are connected.

    Attributes:
        weights: The mean, in the types of the first checkpoint.
        names: Of all checkpoints, of equal ones the first.
        members: Of what is averaged.
        left_out: What is not, and why.
        equal: Name of each that was not looked at to the name of the one with the same weights.
        near: Those that are nearly the same once they are aligned; both count.
        barriers: The barrier of every two, in the order of `names`.
        threshold: The largest barrier that connects.
        joinings: The lines from the running mean.
        scores: Loss and error of each checkpoint by split.
        soup_scores: Those of the mean.
        held_out: Loss of each checkpoint on the held-out part; None where none is held out.
        soup_held_out: That of the mean.
        shares: Weight of each.
        records: What an aligner did, by name.
        has_batch_norm: Whether the model tracks running statistics.
        kept_counters: Names of counters that differ, and are those of the first member.
        product_errors: Of weights that are used as products B·A alone, and so averaged, the relative error that the
            cut to their rank makes, by the name of B.
        overflows: Names of tensors of which the mean has values that the type of the first checkpoint cannot hold.
        method: ``uniform`` or ``greedy``.
        measuring: How lines were measured.
        aligner: Name of the aligner, if any.
        task: Model, data and loss.
        like: The first checkpoint, whose form the mean is written in.
        files: File name and digest of each.
        notes: What was done to fit the checkpoints.
    """

    weights: Weights
    names: tuple[str, ...]
    members: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    equal: Mapping[str, str]
    near: tuple[Near, ...]
    barriers: Sequence[Sequence[float]]
    threshold: float
    joinings: tuple[Joining, ...]
    scores: Mapping[str, Scores]
    soup_scores: Scores
    held_out: Mapping[str, float] | None
    soup_held_out: float | None
    shares: Mapping[str, float]
    records: Mapping[str, Mapping[str, object]]
    has_batch_norm: bool
    kept_counters: tuple[str, ...]
    product_errors: Mapping[str, float]
    overflows: tuple[str, ...]
    method: str
    measuring: Mapping[str, object]
    aligner: str | None
    task: Task
    like: Checkpoint
    files: Mapping[str, tuple[str, str]]
    notes: tuple[str, ...] = ()

    @property
    def is_mean(self) -> bool:
        """Whether two or more are averaged."""
        return len(self.members) > 1

    @property
    def losses(self) -> Mapping[str, float]:
        """Loss of each checkpoint on what the members were chosen by: the held-out part, or the training split."""
        split = self.task.train.name
        return {name: of[split].loss for name, of in self.scores.items()} if self.held_out is None else self.held_out

    @property
    def deciding(self) -> tuple[float, str, float]:
        """Loss of the mean, the member with the largest loss, and that loss: on what the members were chosen by."""
        losses = self.losses
        own = self.soup_scores[self.task.train.name].loss if self.soup_held_out is None else self.soup_held_out
        worst = max(self.members, key=lambda name: losses[name])
        return own, worst, losses[worst]

    @property
    def is_worse(self) -> bool:
        """Whether the mean is worse than its worst member."""
        own, _, worst = self.deciding
        return not own <= worst + _ROUNDING * abs(worst)

    @property
    def refused(self) -> bool:
        """Whether nothing should be written: no mean, one that is worse than its worst member, or that overflows."""
        return not self.may_be_written()

    def may_be_written(self, *, force: bool = False) -> bool:
        """Say whether `save` writes the mean; `force` is about one that is worse than its worst member."""
        return self.is_mean and not self.overflows and (force or not self.is_worse)

    @property
    def verdict(self) -> str:
        """In words what is averaged, what is not, and what came of it."""
        return " ".join(verdict_of(self))

    def save(self, out: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the mean as the first checkpoint is written: a file, or a folder with configuration and tokenizer.

        Args:
            out: A file ``*.safetensors``, or a folder that is new or empty.
            force: Write a mean that is worse than its worst member.

        Raises:
            ConnectivityError: No two are connected, the mean is worse than its worst member, or has values that its
                type cannot hold.
            InputError: It cannot be written, or the folder of the first checkpoint is of another model.
            UsageError: The folder is not empty.
        """
        if not self.may_be_written(force=force):
            raise ConnectivityError(f"{out}: is not written: {self.verdict}")
        require_function(pathlib.Path(out), self.like, self.task.facts(), self.task.model_name)
        origin = {
            "members": [{"file": self.files[name][0], "sha256": self.files[name][1]} for name in self.members],
            "shares": [self.shares[name] for name in self.members],
            "method": self.method,
            "aligner": self.aligner,
            "correction": self.measuring["correction"],
        }
        kept = {key: text for key, text in self.like.metadata.items() if key == "connectivity_hooks.task"}
        metadata = {**kept, "format": "pt", "connectivity_hooks.average": json.dumps(origin)}
        write_like(pathlib.Path(out), self.weights, self.like, self.task.structure(), metadata)
