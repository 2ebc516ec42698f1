"""What a training has under way, whatever is trained: the module, its batches, the budget, the last losses."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import State
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import Progress
from connectivity_hooks.strangers import Pass, guarded_call
from connectivity_hooks.tasks import Drawn, Split, Task
from connectivity_hooks_curves.training.curve import Place
from connectivity_hooks_curves.training.draws import Batches, chance, seed_device
from connectivity_hooks_curves.training.forth_and_back import forth_and_back, passes_in
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.settings import TrainingOptions
from connectivity_hooks_curves.training.untrained import Untrained
from connectivity_hooks_curves.training.window import Window

_OWN = "run.own."
"""Before the names of what the module writes itself, in a state."""


@contextlib.contextmanager
def apart(device: torch.device) -> Iterator[None]:
    """Train inside the block: with gradients, whatever was outside, and random states as before after it."""
    accelerators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(accelerators), torch.inference_mode(False), torch.enable_grad():
        yield


class Run:
    """A module that is trained batch after batch, until a budget is used.

    Args:
        flat: The module, in training mode.
        untrained: What else it has at a place.
        task: Model, data and loss.
        options: How it is trained.
        seed: Of batches, and of what the module draws.

    Attributes:
        flat: The module, in training mode.
        window: The last losses.
        ts: Where each of them was, for whom a t says so.
        budget: How long.
        step: Steps done: passes with gradients.
    """

    def __init__(self, flat: FlatModule, untrained: Untrained, task: Task, options: TrainingOptions, seed: int) -> None:
        self._task, self._options, self._seed = task, options, seed
        self.budget = Budget.parse(options.budget)
        self.flat, self._untrained = flat, untrained
        self._batches = Batches(task.train, options.batch_size, seed)
        self.window, self.ts, self.step = Window(task.device), list[float](), 0
        self._spent, self._begun = 0.0, time.monotonic()

    @classmethod
    def between(cls, a: Weights, b: Weights, task: Task, options: TrainingOptions, seed: int) -> Run:
        """Return the run of the task's module between two ends, with the weights of the first."""
        flat = FlatModule(task.model())
        flat.load(a)
        flat.model.train()
        return cls(flat, Untrained(flat, a, b), task, options, seed)

    @property
    def share(self) -> float:
        """How much of the budget is used."""
        return self.used(self.seconds)

    def used(self, seconds: float) -> float:
        """Return how much of the budget is used after so many seconds."""
        return self.budget.share(self.step, self._batches.epochs, seconds)

    def unused(self, start: str = "the path is the straight line") -> str:
        """Return what a person is told where the budget did not do for a step, and what there is instead."""
        return f"the budget of {self.budget} was used before the first step; {start}"

    @property
    def seconds(self) -> float:
        """Seconds of training, runs that were interrupted included."""
        return self._spent + time.monotonic() - self._begun

    def batches(self, progress: Progress, label: Callable[[], str]) -> Iterator[Drawn]:
        """Yield batches without end, shown as the steps of the budget that are left."""
        samples, size = len(self._task.train), self._options.batch_size
        if size > samples:
            progress.say(f"batch_size {size} is more than the {samples} training samples: every step takes all of them")
        left = self.budget.steps_left(self.step, math.ceil(samples / size))
        return progress.track(self._batches, label, left)

    def forth_and_back(self, place: Place, drawn: Drawn, seed: int | None = None) -> Tensor:
        """Take a batch at a place, with the parameters that were written; return its loss.

        Args:
            place: Where.
            drawn: The batch.
            seed: Of what the module draws; that of the step where none is given.
        """
        seed_device(chance(self._seed, self.step).seed if seed is None else seed, self._task.device)
        self._untrained.write(place)
        self.flat.attach()
        loss = forth_and_back(self.flat, self._task, drawn, self._options.precision)
        self._untrained.look()
        return loss

    def done(self, drawn: Drawn, loss: Tensor, norm: Tensor | None, t: float | None = None) -> None:
        """Count a step as done."""
        self.window.add(loss, norm)
        self.ts += [] if t is None else [t]
        self._batches.done(drawn)
        self.step += 1

    def look(self) -> tuple[float | None, str]:
        """Return the mean loss of the window and empty it; or none, and in words what was not finite and where."""
        first, ts = self.step - self.window.filled, self.ts
        found, self.ts = self.window.look(), []
        if found.fault is None:
            return found.mean, ""
        return None, f"the {found.what} was not finite at step {first + found.fault + 1}, t = {ts[found.fault]:.4f}"

    @torch.no_grad()
    def measure(self, t: float, batches: list[Drawn]) -> float:
        """Return the mean loss over batches of the parameters that were written, in training mode, without gradients.

        Whatever the module draws is the same at every call, so that points are compared on the same noise.
        """
        seed_device(self._seed, self._task.device)
        total, weight = 0.0, 0.0
        for drawn in batches:
            self._untrained.write(t)
            self.flat.attach()
            with (
                guarded_call(Pass(self.flat.model, drawn.inputs)),
                passes_in(self._options.precision, self._task.device),
            ):
                outputs = self._task.forward(self.flat.model, drawn.inputs)
            self.flat.check()
            self._untrained.look()
            terms = self._task.loss.measure(outputs, drawn.targets)
            total, weight = total + float(terms.sums.sum()), weight + float(terms.weights.sum())
        return total / weight if weight else math.nan

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what the next step depends on: tensors by name, and a note."""
        own = self._untrained.state()
        tensors = {f"{_OWN}{name}": tensor for name, tensor in own.items()}
        tensors |= {f"run.window.{name}": values for name, values in self.window.state().items()}
        note = {"step": self.step, "seconds": self.seconds, "own": sorted(own), "batches": self._batches.state()}
        return tensors, note | ({"ts": self.ts} if self.ts else {})

    def restore(self, kept: State) -> None:
        """Go on from a state."""
        own: list[str] = kept.note["own"]
        self._untrained.restore(own, {name: kept.tensors[f"{_OWN}{name}"] for name in own})
        self.window.restore(kept.tensors["run.window.loss"], kept.tensors["run.window.gradient"])
        self.step, self.ts = kept.note["step"], list(kept.note.get("ts", ()))
        self._batches.restore(kept.note["batches"])
        self._spent = kept.note["seconds"]


def some_batches(split: Split, size: int, samples: int, seed: int) -> list[Drawn]:
    """Return batches of at least so many samples, or all of an epoch: always the same ones under one seed."""
    batches, found = Batches(split, size, seed), list[Drawn]()
    for drawn in batches:
        if found and (batches.epoch or sum(len(each.targets) for each in found) >= samples):
            return found
        found.append(drawn)
        batches.done(drawn)
    return found
