"""A builder makes a path between two checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.model.weights import Weights
    from connectivity_hooks.paths.path import Path
    from connectivity_hooks.tasks.task import Task


class Builder(Method):
    """Makes a path between two checkpoints of one model.

    The path starts at `a` and ends at `b` bit for bit, its guarantees are true, and neither input is modified. A
    builder that works long keeps its state in ``self.work``, and goes on from what it finds there, to the same path.

    Attributes:
        instant: The path takes no time to speak of, and is the same bit for bit wherever it is made: shards of one work
            each make it themselves, and divide its measuring.
    """

    instant: ClassVar[bool] = False

    @abstractmethod
    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a path from `a` to `b`, whose names and shapes are those of ``task.model()``."""
