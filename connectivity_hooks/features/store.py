"""What becomes of the features of forward passes: the interface, and the store that holds the last pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.rows import require_plain, require_rows


@dataclass(frozen=True)
class CaughtPass:
    """One forward pass of the whole model.

    Attributes:
        given: What the model was given, one entry for each argument.
        caught: What was taken of each layer, by its name or, where it was called several times, those of its calls.
    """

    given: list[Any]
    caught: Mapping[str, Tensor]


class Store(ABC):
    """Takes what passes layers, and keeps what is wanted of it.

    Args:
        left_out: The layers that are left out; a store adds those whose rows it cannot keep.

    Attributes:
        features: What is kept now, by layer.
    """

    def __init__(self, left_out: LeftOut) -> None:
        self.left_out = left_out
        self.features: dict[str, Tensor] = {}

    @property
    def indices(self) -> Tensor:
        """Positions in the stream of the samples kept, (K,) int64; raise `UsageError` where whole passes are."""
        raise UsageError("capture: indices are known only when samples= limits how many are kept")

    def listens(self, given: list[Any], *, training: bool) -> bool:
        """Say whether the pass that begins is wanted: `given` is what the model was given, `training` its flag."""
        return True

    def taken(self, layer: str, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return what is held of a tensor that passes: a copy, which nothing done to the tensor later changes.

        Raises:
            InputError: It cannot be held; the layer is then left out.
        """
        require_plain(tensor)
        gather = getattr(tensor, "full_tensor", None)  # a DTensor
        return (gather() if callable(gather) else tensor).detach().clone()

    @abstractmethod
    def keep(self, passed: CaughtPass) -> None:
        """Be told of a pass that was wanted and completed."""

    def let_by(self, given: list[Any], *, training: bool) -> None:  # noqa: B027 (most need not know)
        """Be told of a completed pass that was not wanted."""

    def leave_out(self, name: str, error: Exception) -> None:
        """Leave a layer out from now on, and forget what was kept of it."""
        layer = self.left_out.add(name, error)
        for kept in [kept for kept in self.features if modules_of([kept]) == [layer]]:
            del self.features[kept]

    def require_rows(self, name: str, tensor: Tensor, samples: int) -> None:
        """Leave a layer out unless its tensor has one row for each sample."""
        try:
            require_rows(tensor, samples)
        except InputError as error:
            self.leave_out(name, InputError(f"{name}: {error}") if self.left_out.faults == "raise" else error)


@final
class LastPass(Store):
    """Holds the last pass, whole."""

    def keep(self, passed: CaughtPass) -> None:
        """Put a pass in the place of the one before."""
        self.features = dict(passed.caught)
