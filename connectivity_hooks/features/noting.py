"""A capture for whoever answers layer by layer: what goes wrong with a layer is noted, not said and not raised."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from connectivity_hooks.errors import one_line
from connectivity_hooks.features.capture import Capture


class NotingCapture(Capture):
    """Features of every pass, whole; `problems` has the layers that could not be captured.

    Args:
        model: As for `connectivity_hooks.features.capture.capture`.
        layers: Names of layers.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__(model, layers, every=1, samples=None, seed=0, strict=True)

    def why_not(self, layer: str) -> str:
        """Return why the last pass gave no feature of a layer."""
        return self.problems.get(layer) or self._why_missing(layer).removeprefix(f"{layer} ")

    def _catch(self, layer: str, module: nn.Module, value: object) -> None:
        if layer in self.problems:
            return
        try:
            super()._catch(layer, module, value)
        except Exception as error:
            self.problems[layer] = one_line(error)
            self._current.pop(layer, None)

    def _store(self, caught: dict[str, Tensor]) -> None:
        self._features = caught
