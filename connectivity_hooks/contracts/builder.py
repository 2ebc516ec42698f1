"""A builder makes a path between two checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
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
        together: Whether `build` is called in all processes of a team (`connectivity_hooks.team`), which it then has to
            communicate in alike; the path of the first counts. Otherwise the first builds, and the others wait.
        remarks: What a reader of the path should know of how it was built, JSON-ready values by name that no option
            has; written into its file and into reports (`Path.remarks`). `build` sets them.
    """

    together: ClassVar[bool] = False
    remarks: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a path from `a` to `b`, whose names and shapes are those of ``task.model()``."""
