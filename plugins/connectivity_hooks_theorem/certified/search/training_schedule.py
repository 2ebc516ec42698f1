"""How long and how fast a sub-network is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from connectivity_hooks_theorem.certified.search.features import Features
from connectivity_hooks_theorem.probes.networks import BATCHES, LARGEST_BATCH, PEAK, SMALLEST_BATCH

_STEPS = 600
"""Steps of a round at least: ten epochs of 60 000 samples are 1200, ten of a few hundred would be 100."""

_LARGEST_BATCH_OF_MAPS = 100
"""Samples of a step on feature maps: these have positions besides channels, and more of them leave a core's cache."""

_FLAT = (PEAK, 0.0)
_MAPS = (3e-3, 0.3)
"""Largest learning rate and weight decay: those of every figure in docs/benchmarks.md, flat features tried on MNIST,
maps on CIFAR-10. Weights of maps decay because 10 000 images are few for them; no sweep is on record."""


@dataclass(frozen=True)
class TrainingSchedule:
    """How long and how fast to train.

    Attributes:
        epochs: Epochs of a round; the learning rate rises and falls once in each (Smith and Topin 2019).
        steps: Steps of a round at least, whatever the epochs.
        flat: Largest learning rate and weight decay of AdamW (Loshchilov and Hutter 2019) for flat features.
        maps: The same for feature maps.
    """

    epochs: int
    steps: int = _STEPS
    flat: tuple[float, float] = _FLAT
    maps: tuple[float, float] = _MAPS

    def shortened(self, epochs: int) -> TrainingSchedule:
        """Return the same with fewer epochs, and as many steps at least in proportion."""
        return replace(self, epochs=epochs, steps=self.steps * epochs // self.epochs)

    def rates(self, features: Features) -> tuple[float, float]:
        """Return the largest learning rate and the weight decay."""
        return self.maps if features.are_maps else self.flat

    def batch_size(self, features: Features) -> int:
        """Return the samples of a step: fewer of feature maps, which fill a processor's cache."""
        largest = _LARGEST_BATCH_OF_MAPS if features.are_maps else LARGEST_BATCH
        return max(SMALLEST_BATCH, min(largest, features.count // BATCHES))

    def epochs_of(self, features: Features) -> int:
        """Return the epochs of a round."""
        return max(self.epochs, -(-self.steps * self.batch_size(features) // features.count))
