"""A sub-network: from some of the features at a cut to the outputs, through few neurons of what follows."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.sides import Neurons


@dataclass(frozen=True)
class Subnetwork:
    """Narrow weights of every layer after a cut.

    Attributes:
        cut: Index of the cut.
        neurons: For each space the neurons it reads or lives in.
        weights: Narrow weights by name.
        trained: Layers that were trained; the others pass its outputs on. 0 is a probe.
        loss: Mean loss ε on the training split.
        error: Share of wrong predictions there, or None.
    """

    cut: int
    neurons: Neurons
    weights: Weights
    trained: int
    loss: float
    error: float | None
