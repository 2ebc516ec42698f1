"""The training of a curve, whatever its basis."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import UNKEPT, Work
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Drawn, Task
from connectivity_hooks.team import current
from connectivity_hooks_curves.training.draws import Chance, chance
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.parts import Part, dealt
from connectivity_hooks_curves.training.points import ControlPoints, Points
from connectivity_hooks_curves.training.run import Run, apart
from connectivity_hooks_curves.training.settings import TrainingOptions
from connectivity_hooks_curves.training.summing import Counting, Summing
from connectivity_hooks_curves.training.told import told
from connectivity_hooks_curves.training.untrained import Untrained

_WARM_UP = 0.1
"""Share of the budget in which the rate rises: Adam's moments are of few gradients until then."""


@dataclass(frozen=True)
class Trained:
    """Trained control points.

    Attributes:
        points: Weights of all control points, ends included.
        steps: Steps done.
        losses: Mean training loss of each window of steps, see `Window`; the last may be of fewer.
        note: Why it ended before its budget did, in words; empty where it did not.
    """

    points: tuple[Weights, ...]
    steps: int
    losses: tuple[float, ...]
    note: str = ""


def train_curve(
    a: Weights,
    b: Weights,
    task: Task,
    basis: str,
    bends: int,
    options: TrainingOptions,
    *,
    draws: int = 1,
    sharded: bool = False,
    seed: int = 0,
    work: Work = UNKEPT,
    progress: Progress = SILENT,
) -> Trained:
    """Train control points between two ends on E_{t ~ U(0,1)} of the loss at φ(t) (Garipov et al. 2018, algorithm 1).

    One batch a step, at one t or dealt out to several. The module runs in training mode, as it was trained. What is
    trained are parameters; frozen ones and buffers lie on the straight line, except what the module itself writes while
    it trains: running statistics have to be measured anew at each t, as ``--correct batch-norm`` does.

    The processes of a team (`connectivity_hooks.team`) all call this and run a part of each batch. They take the steps
    of one process, but for rounding, and for what a module makes of a batch as a whole (batch norm) or draws (dropout).

    Args:
        a: Weights at t = 0.
        b: Weights at t = 1.
        task: Model, data and loss.
        basis: ``bezier`` or ``polyline``.
        bends: Control points between the ends.
        options: How.
        draws: t of a step.
        sharded: Whether the processes of a team share out parameters and control points, see `SpreadModule`.
        seed: Of t, of batches, and of what the module draws.
        work: Keeps the state.
        progress: Shows the loss.

    Raises:
        InputError: The model has nothing to train or no gradients, cannot be spread, or a pass fails.
    """
    if sharded and current().count == 1:
        progress.say("sharded: one process holds all of the model; start several by torchrun to share it out")
    with trained_at(a, task, sharded=sharded) as flat:
        points = Points(flat, a, b, basis, bends)
        run = Training(flat, points, Untrained(flat, a, b), task, options, draws=draws, seed=seed, work=work)
        if points.are_one:
            note = "the ends are equal in all that is trained, so the curve is a point and nothing is trained"
        else:
            note = run.train(progress)
        return Trained(points.weights(), run.step, tuple(run.losses), note)


@contextlib.contextmanager
def trained_at(weights: Weights, task: Task, *, sharded: bool = False) -> Iterator[FlatModule]:
    """Yield the task's module with some weights in training mode; what is drawn in the block is nobody else's.

    Args:
        weights: Of the module.
        task: Its own.
        sharded: Whether it is spread over the processes, where there are several.
    """
    with apart(task.device):
        flat = _flat(weights, task, sharded and current().count > 1)
        flat.model.train()
        yield flat


def _flat(weights: Weights, task: Task, sharded: bool) -> FlatModule:
    if sharded:
        from connectivity_hooks_curves.training.spread import spread_module  # which needs torch.distributed

        return spread_module(task, weights, current())
    flat = FlatModule(task.model())
    flat.load(weights)
    return flat


class Training:
    """A training under way, of a curve or of any other shape.

    Args:
        flat: The module, see `trained_at`.
        points: What is trained.
        untrained: What else the module has at a place.
        task: Model, data and loss.
        options: How.
        draws: Places of a step.
        seed: Of places, of batches, and of what the module draws.
        work: Keeps the state.

    Attributes:
        points: What is trained.
        losses: Mean loss of each window.
    """

    def __init__(
        self,
        flat: FlatModule,
        points: ControlPoints,
        untrained: Untrained,
        task: Task,
        options: TrainingOptions,
        *,
        draws: int = 1,
        seed: int = 0,
        work: Work = UNKEPT,
    ) -> None:
        self._flat, self.points = flat, points
        self._team, self._draws = current(), draws
        in_parts = self._team.count > 1 or draws > 1
        task, counting = Counting.of(task) if in_parts else (task, None)
        self._options, self._seed, self._work = options, seed, work
        self._run = Run(flat, untrained, task, options, seed)
        self.losses, self._firsts = list[float](), 0.0
        self._summing = Summing(points, untrained, self._team, counting, task.device) if counting else None

    @property
    def step(self) -> int:
        """Steps done."""
        return self._run.step

    @property
    def _share(self) -> float:
        """How much of the budget is used; of a time, what the first process said at the last step."""
        return self._run.share if self._team.count == 1 else self._run.used(self._firsts)

    @property
    def _label(self) -> str:
        loss = f", loss {self.losses[-1]:.4g}" if self.losses else ""
        return f"training {self.points.what}{loss}"

    def train(self, progress: Progress) -> str:
        """Train until the budget is used; return why it ended before, if it did."""
        if 1 < self._draws < self._team.count:
            progress.say(f"draws {self._draws} keep as many of {self._team.count} processes busy; say 1, or more")
        self._resume()
        for drawn in self._run.batches(progress, lambda: self._label):
            if self._share >= 1:
                break
            self._take(drawn)
            ended = self._look() if self._run.window.full else ""
            if ended:
                return ended
            if self._flat.anywhere(self._work.due()):
                self._save()
        if self.step == 0:
            return self._run.unused(self.points.start)
        return self._look() if self._run.window.filled else ""

    def _take(self, drawn: Drawn) -> None:
        """Take one step."""
        if self._summing is not None:
            self._take_in_parts(self._summing, drawn)
            return
        drawn_now = chance(self._seed, self.step)
        loss = self._passed(drawn, drawn_now, drawn_now.seed)
        lr = self._options.lr * _schedule(self._share)
        norm = self.points.move(self.points.place(drawn_now), lr, self._options.weight_decay, self._options.clip)
        self._run.done(drawn, loss, norm)

    def _take_in_parts(self, summing: Summing, drawn: Drawn) -> None:
        """Take one step, this process its part of it."""
        place = (self._team.rank, self._team.count)
        batch = dealt(drawn, self._draws, self._seed, self.step, *place, all_run=self._flat.is_spread)
        found = summing.gradients(
            batch,
            self._run_part,
            weight_decay=self._options.weight_decay,
            clip=self._options.clip,
            seconds=self._run.seconds,
        )
        if not self._run.budget.is_reproducible:  # to know the time is to wait for the device
            self._firsts = float(found.seconds)
        self.points.step(self._options.lr * _schedule(self._share))
        self._run.done(drawn, found.loss, found.norm)

    def _run_part(self, part: Part) -> Tensor:
        return self._passed(part.drawn, part.at, part.seed).detach()

    def _passed(self, drawn: Drawn, at: Chance, seed: int) -> Tensor:
        """Run the module at a place on a batch, forth and back; return the loss."""
        place = self.points.place(at)
        self.points.write(place)
        return self._run.forth_and_back(place, drawn, seed)

    def _look(self) -> str:
        """At the end of a window: remember the points if they are the best; return why to end here, if so."""
        first = self.step - self._run.window.filled
        found = self._run.window.look()
        if found.fault is None and not self.points.are_finite():
            return self._give_up("gradient", self.step - 1)
        if found.fault is not None:
            return self._give_up(found.what, first + found.fault)
        if not self.losses or found.mean <= min(self.losses):
            self.points.keep()
        self.losses.append(found.mean)
        target = self._options.target
        if target is None or found.mean >= target:
            return ""
        return f"after {self.step} steps the mean training loss was {found.mean:.4g}, below the target of {target:g}"

    def _give_up(self, what: str, step: int) -> str:
        """Go back to the best points; return in words what happened in a step, counted from 0."""
        self.points.take_best()
        kept = "the best points before are kept" if self.losses else self.points.start
        place = self.points.place(chance(self._seed, step))
        where = f", {self.points.where(place)}" if self._draws == 1 else ""
        return f"the {what} was not finite at step {step + 1}{where}; {kept}; a smaller lr may help"

    def _save(self) -> None:
        tensors, note = self._run.state()
        tensors |= self.points.state() | {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        self._work.save(tensors, note)

    def _resume(self) -> None:
        kept = told(self._team, self._work)
        if kept is None:
            return
        self.points.restore(kept.tensors)
        self._run.restore(kept)
        self.losses = kept.tensors["losses"].tolist()
        self._firsts = kept.note["seconds"]


def _schedule(done: float) -> float:
    """Return the share of the largest learning rate: up in a tenth of the budget, down to nothing as a cosine."""
    if done < _WARM_UP:
        return max(done, 1e-3) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
