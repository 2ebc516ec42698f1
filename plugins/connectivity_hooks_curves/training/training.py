"""The training of a curve, whatever its basis."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import State, Work
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Drawn, Task
from connectivity_hooks_curves.training.curve import Curve, straight
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.settings import TrainingOptions

WINDOW = 50
"""Steps whose mean loss says how good the points are: one batch alone says little."""

_WARM_UP = 0.1


@dataclass(frozen=True)
class Trained:
    """Trained control points.

    Attributes:
        points: Weights of all control points, ends included.
        steps: Steps done.
        losses: Mean training loss of each window of `WINDOW` steps.
        note: What went wrong, in words; empty where nothing did.
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
    seed: int = 0,
    work: Work,
    progress: Progress = SILENT,
) -> Trained:
    """Train control points between two ends on E_{t ~ U(0,1)} of the loss at φ(t) (Garipov et al. 2018, algorithm 1).

    One t and one batch a step. The module runs in training mode, as it was trained; statistics of batch norm follow
    the batches and are no coordinates: those of control points lie on the straight line, and have to be measured
    anew at each t, as ``--correct batch-norm`` does.

    Args:
        a: Weights at t = 0.
        b: Weights at t = 1.
        task: Model, data and loss.
        basis: ``bezier`` or ``polyline``.
        bends: Control points between the ends.
        options: How.
        seed: Of t, of batches, and of what the module draws.
        work: Keeps the state.
        progress: Shows the loss.

    Raises:
        InputError: The model has no gradients.
    """
    run = _Run(a, b, task, basis, bends, options, seed, work)
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        note = run.train(progress)
    return Trained(run.weights(a, b), run.step, tuple(run.losses), note)


class _Run:
    """A training under way."""

    def __init__(
        self,
        a: Weights,
        b: Weights,
        task: Task,
        basis: str,
        bends: int,
        options: TrainingOptions,
        seed: int,
        work: Work,
    ) -> None:
        self._task, self._options, self._seed, self._work = task, options, seed, work
        self._flat = FlatModule(task.model())
        self._flat.load(a)
        self._flat.model.train()
        self._budget = Budget.parse(options.budget)
        self.curve = Curve(straight(self._flat.vector(a), self._flat.vector(b), bends), basis)
        self._gradients = [torch.zeros_like(point) for point in self.curve.trained]
        for point, gradient in zip(self.curve.trained, self._gradients, strict=True):
            point.grad = gradient
        self._optimizer = torch.optim.Adam(self.curve.trained, lr=options.lr)
        self.step, self.losses = 0, list[float]()
        self._best: list[Tensor] | None = None
        self._window = torch.zeros((), device=self._flat.values.device, dtype=torch.float64)
        self._spent = 0.0
        self._begun = time.monotonic()

    @property
    def _batches(self) -> int:
        return math.ceil(len(self._task.train) / self._options.batch_size)

    @property
    def _seconds(self) -> float:
        return self._spent + time.monotonic() - self._begun

    @property
    def _done(self) -> float:
        return self._budget.share(self.step, self.step / self._batches, self._seconds)

    def train(self, progress: Progress) -> str:
        """Train until the budget is used; return what went wrong."""
        self._resume()
        left = self._budget.steps_left(self.step, self._batches)
        for drawn in progress.track(self._drawn(), "training the curve", left):
            if self._done >= 1:
                break
            fault = self._take(drawn)
            if fault:
                self._restore()
                return fault
            if self._work.due():
                self._save()
        return ""

    def weights(self, a: Weights, b: Weights) -> tuple[Weights, ...]:
        """Return the control points as weights; statistics lie on the straight line between those of the ends."""
        count = len(self.curve.points) - 1
        between = [
            self._flat.weights(point, _between(a, b, (i + 1) / count)) for i, point in enumerate(self.curve.trained)
        ]
        return (a, *between, b)

    def _drawn(self) -> Iterator[Drawn]:
        """Yield batches epoch after epoch, from where the training is."""
        while True:
            epoch, start = divmod(self.step, self._batches)
            found = False
            for drawn in self._task.train.shuffled(self._options.batch_size, self._seed, epoch=epoch, start=start):
                found = True
                yield drawn
            if not found:
                raise InputError("data: the training split gave no batch")

    def _take(self, drawn: Drawn) -> str:
        """Take one step; return in words what went wrong, and then none was taken."""
        generator = torch.Generator().manual_seed((self._seed << 32) + self.step)
        t = float(torch.rand((), generator=generator))
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # dropout, augmentation
        self.curve.write(t, self._flat.values)
        self._flat.gradient.zero_()
        inputs = self._task.augment(drawn.inputs) if self._task.augment else drawn.inputs
        loss = self._task.loss(self._task.forward(self._flat.model, inputs), drawn.targets)
        if not loss.requires_grad:
            raise InputError("the model's outputs have no gradients; its forward may detach them or run without grad")
        loss.backward()
        if self._options.weight_decay:
            self._flat.gradient.add_(self._flat.values, alpha=self._options.weight_decay)
        self._window += loss.detach()
        if self._options.clip is not None:
            norm = self._flat.gradient.norm()
            self._flat.gradient.mul_((self._options.clip / norm.clamp_min(1e-12)).clamp_max(1.0))
        self.curve.gradients(t, self._flat.gradient, self._gradients)
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.lr * _schedule(self._done)
        self._optimizer.step()
        self.step += 1
        return self._look(t) if self.step % WINDOW == 0 else ""

    def _look(self, t: float) -> str:
        """At the end of a window: keep the points if they are the best, and say if the loss is no number."""
        mean = float(self._window) / WINDOW
        self._window.zero_()
        if not math.isfinite(mean):
            return f"the loss was not finite between steps {self.step - WINDOW + 1} and {self.step} (last t = {t:.3g})"
        if not self.losses or mean <= min(self.losses):
            self._best = [point.clone() for point in self.curve.trained]
        self.losses.append(mean)
        return ""

    def _restore(self) -> None:
        kept = self._best or straight(self.curve.points[0], self.curve.points[-1], len(self.curve.trained))[1:-1]
        for point, best in zip(self.curve.trained, kept, strict=True):
            point.copy_(best)

    def _save(self) -> None:
        tensors = {f"point.{i}": point for i, point in enumerate(self.curve.trained)}
        tensors |= {f"best.{i}": point for i, point in enumerate(self._best or ())}
        for i, point in enumerate(self.curve.trained):
            state = self._optimizer.state[point]
            tensors |= {f"{name}.{i}": state[name] for name in ("exp_avg", "exp_avg_sq", "step")}
        tensors["window"] = self._window
        self._work.save(tensors, {"step": self.step, "seconds": self._seconds, "losses": self.losses})

    def _resume(self) -> None:
        kept: State | None = self._work.load()
        if kept is None:
            return
        tensors = kept.tensors
        for i, point in enumerate(self.curve.trained):
            point.copy_(tensors[f"point.{i}"])
            names = ("exp_avg", "exp_avg_sq", "step")
            own = {name: tensors[f"{name}.{i}"].to(point.device if name != "step" else "cpu") for name in names}
            self._optimizer.state[point] = own
        if "best.0" in tensors:
            self._best = [tensors[f"best.{i}"].to(point.device) for i, point in enumerate(self.curve.trained)]
        self._window.copy_(tensors["window"])
        note: Mapping[str, object] = kept.note
        self.step, self._spent = int(note["step"]), float(note["seconds"])  # type: ignore[call-overload, arg-type]
        self.losses = [float(loss) for loss in note["losses"]]  # type: ignore[attr-defined]


def _between(a: Weights, b: Weights, share: float) -> Weights:
    return {
        name: torch.lerp(tensor, b[name], share) if tensor.is_floating_point() else tensor for name, tensor in a.items()
    }


def _schedule(done: float) -> float:
    """Return the share of the largest learning rate: up in a tenth of the budget, down to nothing as a cosine."""
    if done < _WARM_UP:
        return max(done, 1e-3) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
