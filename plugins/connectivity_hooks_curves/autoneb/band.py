"""The training of a nudged elastic band: cycles of steps, and what is measured after each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from connectivity_hooks.contracts import UNKEPT, Work
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Drawn, Task
from connectivity_hooks_curves.autoneb.chain import Chain
from connectivity_hooks_curves.autoneb.survey import BETWEEN, Survey
from connectivity_hooks_curves.training.run import Run, apart, some_batches

if TYPE_CHECKING:
    from connectivity_hooks_curves.autoneb.builder import Options


@dataclass(frozen=True)
class Band:
    """A trained band.

    Attributes:
        points: Weights of all pivots, ends included.
        positions: t of each: the share of the length before it.
        steps: Steps done.
        saddles: Largest loss measured on the straight line, and after each cycle.
        note: Why it ended before its budget did, in words; empty where it did not.
    """

    points: tuple[Weights, ...]
    positions: tuple[float, ...]
    steps: int
    saddles: tuple[float, ...]
    note: str = ""


def train_band(
    a: Weights,
    b: Weights,
    task: Task,
    options: Options,
    *,
    seed: int = 0,
    work: Work = UNKEPT,
    progress: Progress = SILENT,
) -> Band:
    """Train pivots between two ends by the loss, projected off the chain (Draxler et al. 2018, arXiv 1803.00885).

    One pivot and one batch a step, in turn. What is returned is the chain whose largest measured loss is lowest,
    and of those that are no higher than an end the one of the lowest mean.

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
        training = _Training(a, b, task, options, seed, work)
        note = training.train(progress)
        training.chain.take_best()
        saddles = tuple(saddle for saddle, _ in training.ranks)
        return Band(training.chain.weights(), tuple(training.chain.ts), training.run.step, saddles, note)


class _Training:
    """A band under way.

    Attributes:
        run: The module and its batches.
        chain: The pivots.
        ranks: Largest loss and mean, measured on the straight line and after each cycle.
    """

    def __init__(self, a: Weights, b: Weights, task: Task, options: Options, seed: int, work: Work) -> None:
        self._options, self._work = options, work
        self.run = Run.between(a, b, task, options, seed)
        self.chain = Chain(self.run.flat, a, b, options.pivots)
        # Another order than that of the training, which begins with other samples.
        self._measured = some_batches(task.train, options.batch_size, options.samples, seed ^ 1)
        self.ranks, self._cycle, self._turn = list[tuple[float, float]](), 0, 0

    @property
    def _label(self) -> str:
        cycle = f"cycle {min(self._cycle + 1, self._options.cycles)} of {self._options.cycles}"
        return f"training the band, {cycle}, {self.chain.pivots} pivots, largest loss {self.ranks[-1][0]:.4g}"

    def train(self, progress: Progress) -> str:
        """Train until the budget is used; return why it ended before, if it did."""
        if self.chain.is_a_point:
            return "the ends are equal in all that is trained, so the path is a point and nothing is trained"
        if not self._resumed():
            self._survey()
        for drawn in self.run.batches(progress, lambda: self._label):
            if self.run.share >= 1:
                break
            self._take(drawn)
            ended = self._after_a_step()
            if ended:
                return ended
            if self._work.due():
                self._save()
        if self.run.step == 0:
            return self.run.unused()
        return (self._end_cycle() if self.run.window.filled else "") or self._unchanged()

    def _take(self, drawn: Drawn) -> None:
        """Take one step, of the pivot whose turn it is."""
        options, index = self._options, 1 + self._turn
        t = self.chain.write(index)
        loss = self.run.forth_and_back(t, drawn)
        norm = self.chain.move(index, loss, self._rate, options.weight_decay, options.clip)
        self.run.done(drawn, loss, norm, t)
        self._turn = (self._turn + 1) % self.chain.pivots

    @property
    def _rate(self) -> float:
        """The rate of the present cycle: from `lr` down as a cosine."""
        return self._options.lr * 0.5 * (1 + math.cos(math.pi * self._cycle / self._options.cycles))

    def _after_a_step(self) -> str:
        if self.run.share >= (self._cycle + 1) / self._options.cycles:
            return self._end_cycle()
        return self._look() if self.run.window.full else ""

    def _look(self) -> str:
        """See whether all is finite, and space the pivots again; return why to end here, if so."""
        mean, fault = self.run.look()
        if mean is not None and not self.chain.are_finite():
            fault = f"a pivot was not finite at step {self.run.step}"
        if fault:
            kept = "the best points before are kept" if self._is_better else "the path is the straight line"
            return f"{fault}; {kept}; a smaller lr may help"
        self.chain.redistribute()
        return ""

    def _end_cycle(self) -> str:
        """Measure the chain, and insert pivots where it needs some; return why to end here, if so."""
        ended = self._look()
        if ended:
            return ended
        survey = self._survey()
        self._cycle = max(self._cycle + 1, int(self.run.share * self._options.cycles))
        self._turn = 0
        target = self._options.target
        if target is not None and survey.saddle < target:
            return (
                f"after {self.run.step} steps the largest training loss measured along the path was "
                f"{survey.saddle:.4g}, below the target of {target:g}"
            )
        if self.run.share < 1:
            room = self._options.most - self.chain.pivots
            self.chain.insert(survey.wanted(self._options.excess, room), survey.pivots)
        return ""

    def _survey(self) -> Survey:
        """Measure the loss at the pivots and between them; remember the chain if it is the best."""
        count = self.chain.pivots + 2
        pivots = [self._measure(i) for i in range(count)]
        between = [[self._measure(i, at) for at in BETWEEN] for i in range(count - 1)]
        found = Survey(pivots, between, self.chain.shares)
        if not self.ranks or found.rank < min(self.ranks):
            self.chain.keep()
        if not self.ranks:
            self.chain.losses.copy_(torch.tensor(pivots))
        self.ranks.append(found.rank)
        return found

    def _measure(self, segment: int, at: float = 0.0) -> float:
        return self.run.measure(self.chain.write(segment, at), self._measured)

    @property
    def _is_better(self) -> bool:
        """Whether the best chain is another than the straight line."""
        return min(self.ranks) < self.ranks[0]

    def _unchanged(self) -> str:
        if self._is_better:
            return ""
        return "no cycle had lower losses than the straight line, which is the path; a larger budget may help"

    def _save(self) -> None:
        tensors, note = self.run.state()
        pivots, chain = self.chain.state()
        tensors |= pivots | {"ranks": torch.tensor(self.ranks, dtype=torch.float64)}
        self._work.save(tensors, {**note, "chain": chain, "cycle": self._cycle, "turn": self._turn})

    def _resumed(self) -> bool:
        kept = self._work.load()
        if kept is None:
            return False
        self.run.restore(kept)
        self.chain.restore(kept.tensors, kept.note["chain"])
        self._cycle, self._turn = kept.note["cycle"], kept.note["turn"]
        self.ranks = [(saddle, mean) for saddle, mean in kept.tensors["ranks"].tolist()]
        return True
