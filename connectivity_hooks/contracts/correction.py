"""A correction changes the weights at one t of a path before they are measured or written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.model_on_path import ModelOnPath

NONE = "none"
"""What a person types for no correction; no correction has this name."""


class Prepared(ABC):
    """A correction that has looked at a path, and is applied at one t after the other.

    Attributes:
        left: Names of modules that it would correct and cannot, so that what the path holds for them stands.
        notes: What else a person should know.
    """

    left: Sequence[str] = ()
    notes: Sequence[str] = ()

    @abstractmethod
    def apply(self, t: float) -> None:
        """Correct, in place, the weights at `t`, which the module holds.

        Whatever was applied at other t before makes no difference. Nothing else stays on the module, no hook and no
        training flag, and data and path are only read; the core compares, and refuses a correction that changed them.
        """


class Correction(Method):
    """Makes the weights between two checkpoints fit the data again, such as statistics that no training measured.

    What is written into the module is overwritten at the next t. All random choices come from the seed, so that a
    point measured twice gives the same figures.

    Attributes:
        everywhere: Whether it is applied at every t, the ends among them; then every guarantee of the path is void.
            Otherwise it is applied at neither end, and nowhere that a guarantee reaches, so that guarantees stay true.
            The core sees to it.
        by_weights_alone: Whether what it does follows from the weights it finds, whatever t is. It can then be applied
            to weights that lie on no path, as on a plane.
    """

    everywhere: ClassVar[bool] = True
    by_weights_alone: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, moving: ModelOnPath) -> Prepared:
        """Measure once what is needed at every t, such as what both ends' neurons put out.

        Args:
            moving: The module, its path and its task; ``moving.go(t)`` gives the module the path's own weights at t.
        """
