"""What becomes of the features of forward passes: the interface, and the store that holds the last pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.pooled import Pooled
from connectivity_hooks.features.rows import first_axes, require_plain, require_rows


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
        pooled: Takes neurons (N, n) of what passes; None keeps it as it comes.

    Attributes:
        features: What is kept now, by layer.
        rows_given: First axis of the first tensor that the pass under way was given; 0 where there is none.
    """

    def __init__(self, left_out: LeftOut, pooled: Pooled | None = None) -> None:
        self.left_out = left_out
        self.pooled = pooled
        self.features: dict[str, Tensor] = {}
        self.rows_given = 0

    @property
    def indices(self) -> Tensor:
        """Positions in the stream of the samples kept, (K,) int64; raise `UsageError` where whole passes are."""
        raise UsageError("capture: indices are known only when samples= limits how many are kept")

    def listens(self, given: list[Any], *, training: bool) -> bool:
        """Say whether the pass that begins is wanted: `given` is what the model was given, `training` its flag."""
        return True

    def begun(self, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Be told what a pass that is wanted was given, in order and by name."""
        self.rows_given = next(iter(first_axes([*given, *named.values()])), 0)
        if self.pooled is not None:
            self.pooled.begin(given, named)

    def taken(self, layer: str, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return what is held of a tensor that passes: a copy, which nothing done to the tensor later changes.

        Raises:
            InputError: It cannot be held; the layer is then left out.
        """
        require_plain(tensor)
        gather = getattr(tensor, "full_tensor", None)  # a DTensor
        whole = (gather() if callable(gather) else tensor).detach()
        if self.pooled is None:
            return whole.clone()
        neurons = self.pooled.rows(layer, whole, self.rows_given)
        return neurons.clone() if neurons.data_ptr() == tensor.data_ptr() else neurons

    def words(self) -> dict[str, dict[str, str]]:
        """Return for each layer that has positions how they were taken; it waits for the device."""
        return {} if self.pooled is None else self.pooled.words()

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
    """Holds the last pass, whole or as neurons (N, n)."""

    def taken(self, layer: str, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return a copy; a layer whose rows may be tokens has no neurons (N, n)."""
        if self.pooled is not None:
            self.pooled.require_sure(layer, tensor, self.rows_given)
        return super().taken(layer, module, tensor)

    def keep(self, passed: CaughtPass) -> None:
        """Put a pass in the place of the one before."""
        self.features = dict(passed.caught)
