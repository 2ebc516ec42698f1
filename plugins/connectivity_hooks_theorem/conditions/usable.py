"""Features that can be measured, or why they cannot."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.features import Observation


def usable_features(observation: Observation, layer: str) -> Tensor | str:
    """Return the features (N, n) of a layer, or the reason of an invalid verdict."""
    try:
        features = observation.features(layer)
    except KeyError:
        return observation.why_not(layer)
    if not features.shape[1]:
        return "it has no neurons"
    return features if bool(torch.isfinite(features).all()) else "its features hold NaN or Inf"
