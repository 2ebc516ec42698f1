"""Curves with trained control points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectivity_hooks.contracts import Builder, Role, option
from connectivity_hooks.errors import UsageError
from connectivity_hooks.paths import Path, Weights
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.training.settings import TrainingOptions
from connectivity_hooks_curves.training.training import train_curve


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of `Bezier` and `Polychain`."""

    bends: int = option(1, "Trained control points between the ends.", ge=1, le=100)
    draws: int = option(1, "t of a step: the batch is split into as many parts, each at its own.", ge=1, le=1000)
    sharded: bool = option(False, "Under torchrun: each process holds a part of the model and of its control points.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sharded and self.draws > 1:
            raise UsageError(f"draws: {self.draws} with sharded, whose processes run the model at one t; say 1")


class Bezier(Builder):
    """A Bezier curve whose control points are trained.

    φ(t) = Σ_i C(k,i)·(1−t)^(k−i)·t^i·w_i from θ_A to θ_B, trained on the loss at random t (Garipov et al. 2018,
    arXiv 1802.10026). Begins on the straight line, so that alignment helps: ``--align``. What is trained are
    parameters; frozen ones and buffers stay on the straight line, and networks with batch norm need
    ``--correct batch-norm``. Nothing is proven between measured points. A step costs a plain training step and some
    passes over the parameters; memory is that of the two ends and, for each bend, of five vectors of parameters.
    """

    name = "bezier"
    role: ClassVar[Role | None] = "curve"
    Options = Options
    basis = "bezier"
    together = True

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Train the control points from the straight line between `a` and `b`."""
        options: Options = self.options
        found = train_curve(
            a,
            b,
            task,
            self.basis,
            options.bends,
            options,
            draws=options.draws,
            sharded=options.sharded,
            seed=self.seed,
            work=self.work,
            progress=self.progress,
        )
        self.remarks = {"steps": found.steps} | ({"ended": found.note} if found.note else {})
        if found.note:
            self.progress.say(f"{self.name}: {found.note}")
        return Path.from_points(found.points, basis=self.basis)


class Polychain(Bezier):
    """A chain of straight lines whose corners are trained.

    φ(t) goes straight from control point to control point (Garipov et al. 2018, arXiv 1802.10026), trained as `Bezier`
    is. A corner lies on the path itself, so that ``sample`` at its t is a network of low loss.
    """

    name = "polychain"
    role = None  # one curve is enough: of two that are as low, `best` would keep the first
    basis = "polyline"
