"""The layer-wise walk as a builder."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.paths import Path, Weights
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.layerwise.walk import walk
from connectivity_hooks_curves.training.settings import TrainingOptions


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of `Layerwise`."""

    lr: float = option(1e-3, "Learning rate of Adam, the same all the way.", gt=0)
    weight_decay: float = option(0.0, "λ of λ/2·‖θ‖² where the walk is.", ge=0)
    clip: float | None = option(1.0, "Largest norm of the gradient; none: as it is.", gt=0)
    target: float | None = option(None, "After a move, train only until the loss of a batch is below it.")
    rounds: int = option(8, "Moves of each layer, from the first end to the second.", ge=1, le=10_000)
    points: int = option(16, "Points kept between the ends; each is a model in memory and in the file.", ge=1, le=1000)


class Layerwise(Builder):
    """A walk from one checkpoint to the other, layer by layer, with training in between.

    After the walk of Tian et al. 2025 (arXiv 2505.02604): from θ_A on, each layer in turn moves a share of what is left
    of its way to θ_B, its weights are scaled about their mean so that their variance lies between those of both ends,
    and all layers that have not arrived are trained for some steps. A layer's last move arrives at θ_B, bit for bit,
    and so does the walk: its last leg moves the last layer alone. Straight lines between points that were kept are
    the path, and t is the share of the moves. Nothing makes the loss low between points, nor at them where the steps do
    not do, and nothing is proven; the walk from θ_B to θ_A is another one.
    What is trained are parameters; frozen ones and buffers stay on the straight line, and networks with batch norm need
    ``--correct batch-norm``. A step costs a plain training step and some passes over the parameters; memory is that of
    six vectors of parameters and of the points that are kept.
    """

    name = "layerwise"
    Options = Options

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Walk from `a` to `b`."""
        found = walk(a, b, task, self.options, seed=self.seed, work=self.work, progress=self.progress)
        if found.note:
            self.progress.say(f"{self.name}: {found.note}")
        return Path.from_points(found.points, positions=found.positions)
