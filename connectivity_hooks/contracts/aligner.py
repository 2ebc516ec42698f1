"""An aligner picks the copy of the second checkpoint, equal as a function, that lies nearest to the first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.model.weights import Weights
    from connectivity_hooks.tasks.task import Task


@dataclass(frozen=True)
class Alignment:
    """The second checkpoint after alignment.

    Attributes:
        weights: π(θ_B), equal to θ_B as a function.
        record: What was done (permutations by axis, scales), as JSON-ready values; stored in the path file.
    """

    weights: Weights
    record: Mapping[str, object] = field(default_factory=dict)


class Aligner(Method):
    """Finds a symmetry π of the network for which π(θ_B) lies near θ_A.

    The core checks f(π(θ_B)) = f(θ_B) in float64 after every call and refuses an alignment that changes the function.

    Attributes:
        tries_others: Whether it tries what the other aligners do and keeps the best: ``--builder best`` then asks it
            alone.
    """

    tries_others: ClassVar[bool] = False

    @abstractmethod
    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Return an equal copy of `b` that lies near `a`; neither input is modified."""
