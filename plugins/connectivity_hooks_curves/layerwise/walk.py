"""The walk: move a layer, restore its variance, train, and so on, until all layers have arrived."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from connectivity_hooks.contracts import UNKEPT, State, Work
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Drawn, Task
from connectivity_hooks_curves.layerwise.layers import moves_of
from connectivity_hooks_curves.layerwise.walker import Walker
from connectivity_hooks_curves.training.run import Run, apart
from connectivity_hooks_curves.training.untrained import untrained_between

if TYPE_CHECKING:
    from connectivity_hooks_curves.layerwise.builder import Options


@dataclass(frozen=True)
class Walked:
    """A walk from one end to the other.

    Attributes:
        points: Weights of the points that were kept, ends included.
        positions: t of each: the share of the moves that were made by then.
        steps: Steps of training done.
        losses: Mean training loss of each window of steps, see `Window`; some are of fewer.
        note: What a person should know, in words; empty where there is nothing.
    """

    points: tuple[Weights, ...]
    positions: tuple[float, ...]
    steps: int
    losses: tuple[float, ...]
    note: str = ""


def walk(
    a: Weights,
    b: Weights,
    task: Task,
    options: Options,
    *,
    seed: int = 0,
    work: Work = UNKEPT,
    progress: Progress = SILENT,
) -> Walked:
    """Walk from `a` to `b` layer by layer, and train in between (after Tian et al. 2025, arXiv 2505.02604).

    Args:
        a: Weights at t = 0.
        b: Weights at t = 1.
        task: Model, data and loss.
        options: How.
        seed: Of batches, and of what the module draws.
        work: Keeps the state.
        progress: Shows the loss.

    Raises:
        InputError: The model has nothing to train or no gradients, or a pass fails.
    """
    with apart(task.device):
        under_way = _Walk(a, b, task, options, seed, work)
        note = under_way.go(progress)
        inner = tuple(under_way.weights())
        positions = (0.0, *under_way.ts, 1.0)
        return Walked((a, *inner, b), positions, under_way.run.step, tuple(under_way.losses), note)


class _Walk:
    """A walk under way.

    Attributes:
        run: The module and its batches.
        ts: Of the points that were kept.
        losses: Mean training loss of each window of steps.
    """

    def __init__(self, a: Weights, b: Weights, task: Task, options: Options, seed: int, work: Work) -> None:
        self._ends, self._options, self._work = (a, b), options, work
        self.run = Run.between(a, b, task, options, seed)
        self._walker = Walker(self.run.flat, a, b, options.rounds)
        self._moves = moves_of(len(self._walker.layers), options.rounds)
        # The last move is the path's last leg, after which there is nothing to train.
        self._last = len(self._moves) - 1
        self._keep_at = {math.ceil((i + 1) * self._last / options.points) for i in range(options.points)}
        self._moved, self._is_low = 0, False
        self._kept, self.ts, self.losses = list[list[Tensor]](), list[float](), list[float]()

    @property
    def _t(self) -> float:
        return self._moved / len(self._moves)

    @property
    def _label(self) -> str:
        loss = f", loss {self.losses[-1]:.4g}" if self.losses else ""
        return f"walking, move {self._moved} of {self._last}{loss}"

    def go(self, progress: Progress) -> str:
        """Walk until only the last move is left; return what a person should know."""
        if self._walker.is_there:
            return "the ends are equal in all that is trained, so the path is the straight line and nothing is trained"
        if self._last == 0:
            return "one layer in one round is one move, which is the straight line; more rounds train in between"
        kept = self._work.load()
        if kept is not None:
            self._restore(kept)
        for drawn in self.run.batches(progress, lambda: self._label):
            if self.run.step == 0 and self.run.share >= 1:
                return self.run.unused()
            ended, note = self._advance()
            if ended:
                return note
            self._take(drawn)
            if self.run.window.full:
                note = self._look()
                if note:
                    return note
            if self._work.due():
                self._save()
        return ""

    def _advance(self) -> tuple[bool, str]:
        """Make the moves that are due; say whether the walk is over, and why, if something went wrong."""
        while self._moved == 0 or self._is_low or self.run.share >= self._moved / self._last:
            if self._moved in self._keep_at:
                note = self._keep()
                if note:
                    return True, note
            if self._moved == self._last:
                return True, ""
            self._walker.make(self._moves[self._moved])
            self._moved, self._is_low = self._moved + 1, False
        return False, ""

    def _take(self, drawn: Drawn) -> None:
        """Take one step of training."""
        options = self._options
        self._walker.write()
        loss = self.run.forth_and_back(self._t, drawn)
        norm = self._walker.train(options.lr, options.weight_decay, options.clip)
        self.run.done(drawn, loss, norm, self._t)
        if options.target is not None:
            self._is_low = float(loss.detach()) < options.target

    def _look(self) -> str:
        """See whether all is finite; return what a person is told where it is not."""
        mean, fault = self.run.look()
        if not fault and not self._walker.is_finite():
            fault = f"the point was not finite at step {self.run.step}, t = {self._t:.4f}"
        if mean is not None and not fault:
            self.losses.append(mean)
            return ""
        kept = f"from t = {self.ts[-1]:.4f} on the path is straight" if self.ts else "the path is the straight line"
        return f"{fault}; {kept}; a smaller lr may help"

    def _keep(self) -> str:
        """Keep the point where the walk is; return what went wrong, if anything did."""
        if self.run.window.filled:
            note = self._look()
            if note:
                return note
        self._kept.append(self._walker.copy())
        self.ts.append(self._t)
        return ""

    def weights(self) -> list[Weights]:
        """Return the points that were kept as weights; what is not trained lies on the straight line."""
        a, b = self._ends
        return [
            self.run.flat.weights(point, untrained_between(a, b, t))
            for point, t in zip(self._kept, self.ts, strict=True)
        ]

    def _save(self) -> None:
        tensors, note = self.run.state()
        tensors |= self._walker.state() | {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        tensors |= {f"kept.{i}.{g}": vector for i, point in enumerate(self._kept) for g, vector in enumerate(point)}
        self._work.save(tensors, {**note, "moved": self._moved, "is_low": self._is_low, "kept": self.ts})

    def _restore(self, kept: State) -> None:
        self.run.restore(kept)
        self._moved, self._is_low = kept.note["moved"], kept.note["is_low"]
        self._walker.restore(kept.tensors, self._moves[: self._moved])
        self.ts, self.losses = list(kept.note["kept"]), kept.tensors["losses"].tolist()
        groups = range(len(self.run.flat.groups))
        self._kept = [[kept.tensors[f"kept.{i}.{g}"] for g in groups] for i in range(len(self.ts))]
