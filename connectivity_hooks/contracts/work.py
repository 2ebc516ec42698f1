"""Where a method that works long keeps its state, so that a run that is killed does not begin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class State:
    """What a method kept of its work.

    Attributes:
        tensors: Tensors by name on the CPU, in the order they were given in.
        note: What else it needs: JSON-ready values by name.
    """

    tensors: Mapping[str, Tensor]
    note: Mapping[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """Keeps the state of one piece of work: one pair of checkpoints, one method, its options, its data.

    What is kept is found again by a run of the very same work and by no other, and is removed when the work is done.
    """

    def load(self) -> State | None:
        """Return what an interrupted run of the same work saved last; None where there is nothing to go on from."""
        ...

    def due(self) -> bool:
        """Say whether to save now: so seldom that saving takes at most a hundredth of the time."""
        ...

    def save(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any] | None = None) -> None:
        """Keep a state in place of the one before; a kill at any moment leaves one of the two."""
        ...


class Unkept:
    """Keeps nothing."""

    def load(self) -> State | None:
        """Return None."""
        return None

    def due(self) -> bool:
        """Say no."""
        return False

    def save(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any] | None = None) -> None:
        """Drop the state."""


UNKEPT = Unkept()
