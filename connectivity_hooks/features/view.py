"""Features as rows of neurons, whatever their layout."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError

Spatial = Literal["pool", "flatten"]
Channels = Literal["first", "last"]


def neurons_last(feature: Tensor, *, spatial: str = "pool", channels: Channels | None = None) -> Tensor:
    """Return a feature as (N, neurons), in float32 or wider.

    Args:
        feature: (N, n) stays. (N, C, H, W), (N, C, D, H, W): a feature map with channels first. (N, T, D): tokens with
            channels last.
        spatial: ``pool`` takes the mean over space or tokens: neurons are channels. ``flatten`` makes every position of
            every channel a neuron.
        channels: Overrides where the channels are, e.g. ``last`` for (N, H, W, C) and ``first`` for (N, C, L).

    Raises:
        InputError: The feature has no axis of neurons.
    """
    if feature.ndim < 2:
        raise InputError(f"a feature of shape {tuple(feature.shape)} has no neurons; expected (N, n) or more axes")
    wide = feature.to(torch.promote_types(feature.dtype, torch.float32))
    if wide.ndim == 2:
        return wide
    last = channels == "last" or (channels is None and wide.ndim == 3)
    if spatial == "flatten":
        return wide.flatten(1)
    maps = wide.movedim(-1, 1) if last else wide
    return maps.flatten(2).mean(2)
