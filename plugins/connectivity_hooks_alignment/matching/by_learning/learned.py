"""Matching by gradient descent: elements of all groups at once, for a low loss on the straight line.

Peña et al. (2023, arXiv 2212.12042) train permutations so; theory and figures are in docs/alignment.md. `coordinates`
says where on the groups a descent is, `moves` what a step does to neurons, `places` where they are in the weights,
`line` what the weights between the ends then are, `line_loss` what the network makes of them, `variables` the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import UNKEPT, State, Work
from connectivity_hooks.model import Inputs, Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Element, Elements, Symmetries, combined
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_learning.coordinates import Coordinates, coordinates_of, is_exchanged
from connectivity_hooks_alignment.matching.by_learning.line import Line
from connectivity_hooks_alignment.matching.by_learning.line_loss import LineLoss, with_gradients
from connectivity_hooks_alignment.matching.by_learning.variables import Variables

AROUND_THE_MIDDLE = (0.3, 0.7)
"""λ is drawn from here: the barrier is highest near the middle, and near the ends the match makes no difference."""

WINDOW = 20
"""Steps over which the loss is averaged: their λ and batches differ, so that one step alone says little."""

SAID = 10
"""How often the loss is told."""


@dataclass(frozen=True)
class Descent:
    """How the descent goes.

    Attributes:
        batch_size: Samples of a step.
        rate: Largest learning rate of Adam; it falls to zero as half a cosine.
    """

    batch_size: int = 64
    rate: float = 1e-2


@dataclass(frozen=True, eq=False)
class Learned:
    """What was found.

    Attributes:
        elements: What is done to each space, that of the start included.
        losses: Mean training loss around the middle of every `WINDOW` steps.
        steps: Steps that were made.
        stopped: Why it ended before its budget did; empty where it did not.
    """

    elements: dict[int, Element]
    losses: list[float]
    steps: int
    stopped: str = ""


def learn(
    symmetries: Symmetries,
    a: Weights,
    b: Weights,
    task: Task,
    start: Elements,
    *,
    budget: Budget,
    seed: int = 0,
    progress: Progress = SILENT,
    work: Work = UNKEPT,
    descent: Descent | None = None,
) -> Learned:
    """Descend the loss of the straight line from `a` to a copy of `b`, from what is done to `b` already.

    Each step takes a batch of training samples, augmented as the task says, and λ uniformly around the middle; the
    module is in evaluation mode, and its running statistics are interpolated as its weights are, as on the line that is
    measured. Rotations are Cayley transforms, matrices I + M, factors exponentials, and permutations straight-through
    assignments. Heads stay paired as at the start. A loss that is not finite ends it, and the best so far is kept.

    Memory: five times the coordinates beside the line's two ends and one pass with its gradients.

    Args:
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        task: Model, training data and loss.
        start: What is done to `b` to begin with.
        budget: How long; only steps and epochs give the same result again.
        seed: Of batches, λ and augmentation.
        progress: Shows how far it is, and the loss.
        work: Where the state is kept.
        descent: Batch size and learning rate.

    Raises:
        InputError: The model cannot be run under other weights, or has no gradients.
    """
    descent = descent or Descent()
    # Steps of a thousandth are lost in half precision, whatever the task computes in.
    dtype = torch.promote_types(task.dtype, torch.float32)
    line = Line(symmetries, a, b, start, task.device, dtype)
    coordinates = _at_the_start(symmetries, line, torch.zeros((), device=task.device, dtype=dtype))
    if not coordinates:
        return Learned(dict(start), [], 0)
    learner = _Learner(line, Variables(coordinates, descent.rate), task, budget, seed, descent.batch_size)
    kept = work.load()
    if kept is not None:
        learner.restore(kept)
    stopped = learner.run(progress, work)
    elements = combined(symmetries, start, learner.variables.elements())
    return Learned(elements, learner.done.losses, learner.done.steps, stopped)


def _at_the_start(symmetries: Symmetries, line: Line, like: Tensor) -> list[Coordinates]:
    exchanged = [each.space for each in symmetries.symmetries if is_exchanged(each)]
    return coordinates_of(symmetries, {space: line.products(space) for space in exchanged}, like)


@dataclass
class _Done:
    """How far a descent is, JSON-ready."""

    steps: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    window: list[float] = field(default_factory=list)

    def add(self, loss: float) -> bool:
        """Add the loss of a step; return whether a window is full, and its mean lower than all before."""
        self.window.append(loss)
        if len(self.window) < WINDOW:
            return False
        self.losses.append(sum(self.window) / WINDOW)
        self.window = []
        return self.losses[-1] == min(self.losses)

    @classmethod
    def of(cls, note: Mapping[str, object]) -> _Done:
        """Return what a state's note says."""
        return cls(**note)  # type: ignore[arg-type]


class _Learner:
    """One descent: what it moves, how it is judged, and how far it is."""

    def __init__(
        self, line: Line, variables: Variables, task: Task, budget: Budget, seed: int, batch_size: int
    ) -> None:
        self._line, self.variables = line, variables
        self._train, self._budget, self._seed, self._batch_size = task.train, budget, seed, batch_size
        self._generator = Generator().manual_seed(seed)
        self._loss = LineLoss(task, self._generator)
        self._batches = -(-len(task.train) // batch_size)
        self.done = _Done()
        self._begun = time.monotonic()

    def run(self, progress: Progress, work: Work) -> str:
        """Go on until the budget is used; return why it stopped before."""
        total = self._budget.steps_left(self.done.steps, self._batches)
        said = int(SAID * self._share())
        for inputs, targets in progress.track(self._drawn(), "learning to match", total):
            fault = self._step(inputs, targets)
            if fault:
                progress.say(f"learned matching: {fault}; the best before it is kept")
                self.variables.put_best()
                return fault
            if int(SAID * self._share()) > said and self.done.losses:
                said = int(SAID * self._share())
                loss = self.done.losses[-1]
                progress.say(f"learned matching: step {self.done.steps}, loss {loss:.4g} around the middle")
            if work.due():
                work.save({"generator": self._generator.get_state(), **self.variables.state()}, dict(vars(self.done)))
        return ""

    def restore(self, kept: State) -> None:
        """Go on from a state."""
        self.done = _Done.of(kept.note)
        self._begun = time.monotonic() - self.done.seconds
        self._generator.set_state(kept.tensors["generator"])
        self.variables.restore(kept.tensors)

    def _share(self) -> float:
        done = self.done
        return self._budget.share(done.steps, done.epoch + min(1.0, done.batch / self._batches), done.seconds)

    def _drawn(self) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield batches until the budget is used."""
        done, size = self.done, self._batch_size
        while True:
            for _, inputs, targets in self._train.shuffled(size, self._seed, epoch=done.epoch, start=done.batch):
                if self._share() >= 1:
                    return
                yield inputs, targets
            done.epoch, done.batch = done.epoch + 1, 0

    def _step(self, inputs: Inputs, targets: Tensor) -> str:
        """Make one step; return what is wrong, where loss or gradients are not finite."""
        low, high = AROUND_THE_MIDDLE
        share = low + (high - low) * float(torch.rand((), generator=self._generator, dtype=torch.float64))
        point = self._line.at(self.variables.moves(self.done.steps), share)
        loss, counts = self._loss(point.weights, inputs, targets)
        value, where = float(loss.detach()), f"at step {self.done.steps}, λ = {share:.3f}"
        if counts and not math.isfinite(value):
            return f"the loss is {value} {where}"
        if counts:
            self.variables.clear()
            with with_gradients():
                point.backward(loss)
            if not self.variables.descend(self._share()):
                return f"a gradient is not finite {where}"
        self._count(value if counts else None)
        return ""

    def _count(self, loss: float | None) -> None:
        """Count a step, and its loss where anything of its batch counts."""
        done = self.done
        done.steps, done.batch, done.seconds = done.steps + 1, done.batch + 1, time.monotonic() - self._begun
        if loss is not None and done.add(loss):
            self.variables.keep_as_best()
