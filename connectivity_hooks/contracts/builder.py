"""A builder makes a path between two checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.model.weights import Weights
    from connectivity_hooks.paths.path import Path
    from connectivity_hooks.tasks.task import Task


ALL, BEST = "all", "best"
"""What ``--builder`` takes beside a builder's name: every builder, or the best way that is found."""

Role: TypeAlias = Literal["line", "proof", "curve"]


class Builder(Method):
    """Makes a path between two checkpoints of one model.

    The path starts at `a` and ends at `b` bit for bit, its guarantees are true, and neither input is modified. A
    builder that works long keeps its state in ``self.work``, and goes on from what it finds there, to the same path.

    Attributes:
        role: What ``--builder best`` takes it for. ``line``: it costs nothing to build, is the same wherever it is
            made (shards divide its measuring), and is tried with every aligner. ``proof``: its bound may hold for every
            t. ``curve``: it is trained from the best line. None: `best` does not try it.
        together: Whether `build` is called in all processes of a team (`connectivity_hooks.team`), which it then has to
            communicate in alike; the path of the first counts. Otherwise the first builds, and the others wait.
        remarks: What a reader of the path should know of how it was built, JSON-ready values by name that no option
            has; written into its file and into reports (`Path.remarks`). `build` sets them.
    """

    role: ClassVar[Role | None] = None
    together: ClassVar[bool] = False
    remarks: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Return a path from `a` to `b`, whose names and shapes are those of ``task.model()``."""
