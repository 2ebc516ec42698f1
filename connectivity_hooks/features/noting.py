"""A capture for whoever answers layer by layer: what goes wrong with a layer is noted, not said and not raised."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.store import LastPass


def noting_capture(model: nn.Module, layers: Sequence[str]) -> Capture:
    """Return a capture of every pass, whole; `Capture.problems` has the layers that could not be captured.

    Args:
        model: As for `connectivity_hooks.features.capture.capture`.
        layers: Names of layers.
    """
    return Capture(model, layers, LastPass(LeftOut("note")))
