"""The straight line between two sets of weights, as a builder: no other plugin has to be there for it."""

from __future__ import annotations

from connectivity_hooks.contracts import Builder
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task


class Line(Builder):
    """The straight line, θ(t) = (1-t)·θ_A + t·θ_B."""

    name = "linear"
    role = "line"

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return the straight line from `a` to `b`."""
        return Path.from_points([a, b])
