"""What pools over positions, channel by channel."""

from __future__ import annotations

from connectivity_hooks.structure.operations.call import Call, axes_of
from connectivity_hooks.structure.program import Step


def pool(call: Call) -> Step | None:
    """Recognise a pooling of a value with an axis of channels; without one, neurons would be pooled."""
    axes = int(call.operation[-2]) + 2  # of max_pool2d and its kin: samples, channels, two of positions
    return _pooled(call) if axes_of(call.only_value) == axes else None


def mean(call: Call) -> Step | None:
    """Recognise the mean over all positions."""
    axes = axes_of(call.only_value)
    over = sorted(axis % axes for axis in call.arguments.get("dim") or []) if axes > 2 else []
    return _pooled(call) if over and over == list(range(2, axes)) else None


def _pooled(call: Call) -> Step:
    return call.known("pool", call.replayed(), linear="max" not in call.operation)
