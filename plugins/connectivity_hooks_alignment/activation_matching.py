"""Alignment by what neurons do on the data."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.structure import transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.activations import match_activations, recorded
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Options:
    """Options of `ActivationMatching`."""

    measure: str = option("correlation", "Measure.", choices=("correlation", "covariance"))
    samples: int = option(4000, "Samples.", ge=2)


class ActivationMatching(Aligner):
    """Neurons brought together by what they do on training samples."""

    name = "activation-matching"
    Options = Options

    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Match."""
        network = network_of(task, a, b)
        symmetries = network.symmetries
        seen = recorded(
            task, symmetries, a, b, samples=self.options.samples, seed=self.seed, progress=self.progress
        )
        elements = match_activations(symmetries, seen, a, b, measure=self.options.measure)
        record = {**network.record()}
        return Alignment(transformed(symmetries, b, elements, like=a), record)
