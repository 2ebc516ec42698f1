"""Matching by gradient descent: elements of all groups at once, for a low loss on the straight line.

Peña et al. (2023, arXiv 2212.12042) train permutations so; theory and figures are in docs/alignment.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import UNKEPT, State, Work
from connectivity_hooks.errors import ConnectivityError, InputError, one_line
from connectivity_hooks.model import Inputs, Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Element, Elements, Symmetries, combined, untouched
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.coordinates import Coordinates, coordinates_of, is_exchanged
from connectivity_hooks_alignment.matching.line import Line, PointOnLine

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

    Memory: four times the coordinates beside the line's two ends and one pass with its gradients.

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
    learner = _Learner(symmetries, a, b, task, start, budget, seed, descent or Descent())
    kept = work.load()
    if kept is not None:
        learner.restore(kept)
    stopped = learner.run(progress, work) if learner.coordinates else ""
    return Learned(combined(symmetries, start, learner.elements()), learner.done.losses, learner.done.steps, stopped)


@dataclass
class _Done:
    """How far a descent is, JSON-ready."""

    steps: int
    epoch: int
    batch: int
    seconds: float
    losses: list[float]
    window: list[float]
    best: float

    def note(self) -> dict[str, object]:
        return {**vars(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def of(cls, note: Mapping[str, object]) -> _Done:
        values = {**note, "best": math.inf if note["best"] is None else note["best"]}
        return cls(**values)  # type: ignore[arg-type]


class _Learner:
    """One descent: coordinates, Adam, and how far it is."""

    def __init__(
        self,
        symmetries: Symmetries,
        a: Weights,
        b: Weights,
        task: Task,
        start: Elements,
        budget: Budget,
        seed: int,
        descent: Descent,
    ) -> None:
        self._task, self._budget, self._seed, self._descent = task, budget, seed, descent
        # Steps of a thousandth are lost in half precision, whatever the task computes in.
        dtype = torch.promote_types(task.dtype, torch.float32)
        self._line = Line(symmetries, a, b, start, task.device, dtype)
        exchanged = [each.space for each in symmetries.symmetries if is_exchanged(each)]
        products = {space: self._line.products(space) for space in exchanged}
        self.coordinates = coordinates_of(symmetries, products, torch.zeros((), device=task.device, dtype=dtype))
        self._parameters = _named(self.coordinates)
        self._best = {name: tensor.clone() for name, tensor in self._parameters.items()}
        for tensor in self._parameters.values():
            tensor.requires_grad_()
        self._adam = torch.optim.Adam(
            [{"params": list(each.parameters.values())} for each in self.coordinates] or [torch.zeros(1)]
        )
        self._model = task.model().requires_grad_(False)
        self._generator = Generator().manual_seed(seed)
        self.done = _Done(0, 0, 0, 0.0, [], [], math.inf)
        self._batches = -(-len(task.train) // descent.batch_size)
        self._begun = time.monotonic()

    def run(self, progress: Progress, work: Work) -> str:
        """Go on until the budget is used; return why it stopped before."""
        total = self._budget.steps_left(self.done.steps, self._batches)
        said = int(SAID * self._share())
        for inputs, targets in progress.track(self._drawn(), "learning to match", total):
            fault = self._step(inputs, targets)
            if fault:
                progress.say(f"learned matching: {fault}; the best before it is kept")
                self._put(self._best)
                return fault
            if int(SAID * self._share()) > said and self.done.losses:
                said = int(SAID * self._share())
                progress.say(
                    f"learned matching: step {self.done.steps}, loss {self.done.losses[-1]:.4g} near the middle"
                )
            if work.due():
                work.save(*self._state())
        return ""

    def elements(self) -> dict[int, Element]:
        """Return what is done to each space after the start."""
        return {space: element for each in self.coordinates for space, element in each.elements().items()}

    def restore(self, kept: State) -> None:
        """Go on from a state."""
        self.done = _Done.of(kept.note)
        self._begun = time.monotonic() - self.done.seconds
        self._generator.set_state(kept.tensors["generator"])
        self._put(_under("now.", kept.tensors))
        self._best = {name: tensor.to(self._best[name]) for name, tensor in _under("best.", kept.tensors).items()}
        for number, each in enumerate(self.coordinates):
            each.restore(_under(f"kept.{number}.", kept.tensors))
        for name, parameter in self._parameters.items():
            if f"mean.{name}" in kept.tensors:
                self._adam.state[parameter] = {
                    "step": torch.tensor(float(self.done.steps)),
                    "exp_avg": kept.tensors[f"mean.{name}"].to(parameter),
                    "exp_avg_sq": kept.tensors[f"square.{name}"].to(parameter),
                }

    def _state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        tensors = {"generator": self._generator.get_state()}
        for name, parameter in self._parameters.items():
            tensors |= {f"now.{name}": parameter.detach(), f"best.{name}": self._best[name]}
            moments = self._adam.state[parameter]
            tensors |= {f"mean.{name}": moments["exp_avg"], f"square.{name}": moments["exp_avg_sq"]}
        for number, each in enumerate(self.coordinates):
            tensors |= {f"kept.{number}.{name}": tensor for name, tensor in each.kept().items()}
        return tensors, self.done.note()

    def _put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])

    def _share(self) -> float:
        done = self.done
        return self._budget.share(done.steps, done.epoch + min(1.0, done.batch / self._batches), done.seconds)

    def _drawn(self) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield batches until the budget is used."""
        done, size = self.done, self._descent.batch_size
        while True:
            for _, inputs, targets in self._task.train.shuffled(size, self._seed, epoch=done.epoch, start=done.batch):
                if self._share() >= 1:
                    return
                yield inputs, targets
            done.epoch, done.batch = done.epoch + 1, 0

    def _step(self, inputs: Inputs, targets: Tensor) -> str:
        """Make one step; return what is wrong with the loss, where it is not finite."""
        low, high = AROUND_THE_MIDDLE
        share = low + (high - low) * float(torch.rand((), generator=self._generator, dtype=torch.float64))
        for group, each in zip(self._adam.param_groups, self.coordinates, strict=False):
            group["lr"] = each.rate(self._descent.rate) * (1 + math.cos(math.pi * self._share())) / 2
        moves = {space: move for each in self.coordinates for space, move in each.moves(self.done.steps).items()}
        point = self._line.at(moves, share)
        outputs = self._outputs(point.weights, inputs)
        with _differentiating():
            loss = self._task.loss(outputs, targets)
        value = float(loss.detach())
        if math.isfinite(value):
            self._descend(point, loss)
        elif bool(self._task.loss.measure(outputs.detach(), targets).weights.any()):
            return f"the loss is {value} at step {self.done.steps}, λ = {share:.3f}"
        self._count(value)
        return ""

    def _outputs(self, weights: Weights, inputs: Inputs) -> Tensor:
        task = self._task
        weights = {name: each.to(task.dtype) if each.is_floating_point() else each for name, each in weights.items()}
        with _differentiating(), _seeded(self._generator, task.device), untouched(self._model):
            augmented = task.augment(inputs) if task.augment else inputs
            return task.forward.under(self._model, weights, augmented)

    def _descend(self, point: PointOnLine, loss: Tensor) -> None:
        self._adam.zero_grad()
        if not loss.requires_grad:
            raise InputError(f"{_NO_GRADIENT}: its outputs are cut off from its weights, by no_grad or detach; {_NEXT}")
        with _differentiating():
            point.backward(loss)
        self._adam.step()

    def _count(self, loss: float) -> None:
        """Count a step; the loss of a batch of which nothing counts, such as of padding alone, is none."""
        done = self.done
        done.steps, done.batch, done.seconds = done.steps + 1, done.batch + 1, time.monotonic() - self._begun
        if math.isfinite(loss):
            done.window.append(loss)
        if len(done.window) == WINDOW:
            done.losses.append(sum(done.window) / WINDOW)
            done.window = []
            if done.losses[-1] < done.best:
                done.best = done.losses[-1]
                self._best = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}


_NO_GRADIENT = "learned-matching: the model has no gradients"
_NEXT = "align by weights or activations instead"


@contextmanager
def _differentiating() -> Iterator[None]:
    """Say in one line what a model's code, or a gradient through it, fails with."""
    try:
        yield
    except (ConnectivityError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"learned-matching: the model fails with gradients: {one_line(error, 200)}; {_NEXT}"
        ) from error


@contextmanager
def _seeded(generator: Generator, device: torch.device) -> Iterator[None]:
    """Give the global generators, which augmentations draw from, a state of the descent's own in the block."""
    seed = int(torch.randint(2**62, (), generator=generator))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(Generator().manual_seed(seed).get_state())
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _named(coordinates: list[Coordinates]) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": tensor
        for number, each in enumerate(coordinates)
        for name, tensor in each.parameters.items()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
