"""The nudged elastic band as a builder."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.paths import Path, Weights
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.autoneb.band import train_band
from connectivity_hooks_curves.training.settings import TrainingOptions


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of `AutoNEB`."""

    lr: float = option(3e-3, "Learning rate of Adam in the first cycle; falls as a cosine from cycle to cycle.", gt=0)
    weight_decay: float = option(0.0, "λ of λ/2·‖θ‖² at the pivots.", ge=0)
    clip: float | None = option(1.0, "Largest norm of the gradient at a pivot; none: as it is.", gt=0)
    target: float | None = option(None, "Stop after a cycle whose largest measured training loss is below it.")
    pivots: int = option(1, "Points between the ends at first.", ge=1, le=100)
    most: int = option(
        9, "Points between the ends at last; each costs memory, and its share of the steps.", ge=1, le=100
    )
    cycles: int = option(
        8, "After each, pivots are inserted and the rate falls; the budget is shared evenly.", ge=1, le=100
    )
    excess: float = option(
        0.1, "A pivot is inserted where the loss exceeds the interpolated by this share of its range.", gt=0
    )
    samples: int = option(1024, "Training samples that the loss along the path is measured on.", ge=1)


class AutoNEB(Builder):
    """A chain of pivots that lie in the valley between two checkpoints.

    A nudged elastic band (Draxler et al. 2018, arXiv 1803.00885): pivots on the straight line go down the gradient of
    the loss without what it has along the chain, and are spaced again, so that they do not slide into the ends. Cycle
    after cycle the loss between them is measured, and pivots are inserted where it is high. What is lowered is the
    loss at the pivots; the chain with the lowest largest measured loss is the path, of straight lines, whose t is the
    share of its length. Nothing is proven between measured points.
    What is trained are parameters; frozen ones and buffers stay on the straight line, and networks with batch norm need
    ``--correct batch-norm``. A step costs a plain training step and some passes over the parameters; memory is that of
    the two ends, and for each pivot of four vectors of parameters.
    """

    name = "autoneb"
    Options = Options

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Train the pivots from the straight line between `a` and `b`."""
        found = train_band(a, b, task, self.options, seed=self.seed, work=self.work, progress=self.progress)
        if found.note:
            self.progress.say(f"{self.name}: {found.note}")
        return Path.from_points(found.points, positions=found.positions)
