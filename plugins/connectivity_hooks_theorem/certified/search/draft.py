"""A sub-network in the making."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import Values
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer


@dataclass(frozen=True)
class Draft:
    """A sub-network whose outputs are not yet passed on to the network's own output layer.

    Attributes:
        weights: Narrow weights of the layers of a stretch.
        output: Its output layer, on the flattened features at the stretch's end. None where the network's output layer
            is no linear map of all it reads: then `weights` holds that too, and the stretch ends in front of it.
    """

    weights: Weights
    output: OutputLayer | None

    def reaches(self, stretch: Stretch) -> Stretch:
        """Return what its weights compute: the stretch, or without an output layer of its own all to the outputs."""
        return stretch.onwards if self.output is None else stretch

    def outputs(self, stretch: Stretch, values: Values, momentum: float | None = None) -> Tensor:
        """Return the outputs (N, C) from the values where the stretch begins; see `Stretch.run`."""
        (value,) = self.reaches(stretch).run(self.weights, values, momentum).values()
        return value if self.output is None else self.output(value.flatten(1))
