"""Features that can be measured, or why they cannot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.features import Observation
from connectivity_hooks_theorem.conditions.positions import Answers, features_at


@dataclass(frozen=True)
class Labelled:
    """Features of a layer beside what is to be read off them.

    Attributes:
        features: (M, n), a row for each sample, or for each position that is one.
        targets: (M, …), on their device.
        total: Samples, or positions, of which these were drawn.
        details: In words, how positions were taken; for a verdict's details.
    """

    features: Tensor
    targets: Tensor
    total: int
    details: dict[str, float | int | str | None]


def usable_features(observation: Observation, layer: str) -> Tensor | str:
    """Return the features (N, n) of a layer, or the reason of an invalid verdict."""
    try:
        features = observation.features(layer)
    except KeyError:
        return observation.why_not(layer)
    if not features.shape[1]:
        return "it has no neurons"
    return features if bool(torch.isfinite(features).all()) else "its features hold NaN or Inf"


def labelled(
    observation: Observation, layer: str, targets: Tensor, counted: Tensor, answers: Answers | None
) -> Labelled | str:
    """Return the features of a layer and their targets, or the reason of an invalid verdict.

    Args:
        observation: Module and data.
        layer: The layer.
        targets: (N, …); not looked at where there are answers at positions.
        counted: (N,) bool: which samples count.
        answers: Answers at positions, each a sample; None where there is one a sample.
    """
    found = usable_features(observation, layer) if answers is None else features_at(observation, layer, answers)
    if isinstance(found, str):
        return found
    if answers is not None:
        return Labelled(found, answers.targets.to(found.device), answers.total, answers.details())
    if not bool(counted.all()):
        found, targets = found[counted.to(found.device)], targets[counted]
    return Labelled(found, targets.to(found.device), len(found), observation.pooled(layer))
