"""The straight line between two checkpoints."""

from __future__ import annotations

from connectivity_hooks.contracts import Builder
from connectivity_hooks.paths import Path, Weights
from connectivity_hooks.tasks import Task


class Linear(Builder):
    """The straight line, θ(t) = (1-t)·θ_A + t·θ_B.

    The path that linear mode connectivity is about (Frankle et al. 2020, arXiv 1912.05671): low loss along it means
    that the two checkpoints can be averaged. Nothing is proven between its measured points. Batch-norm statistics are
    interpolated like every other tensor; networks with batch norm often need ``--correct batch-norm``.
    Costs nothing to build and two models to store.
    """

    name = "linear"
    instant = True

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return the straight line from `a` to `b`."""
        return Path.from_points([a, b])
