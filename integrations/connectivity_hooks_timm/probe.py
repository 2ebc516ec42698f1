"""Probe data from timm's loaders, which normalise on the device they feed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from connectivity_hooks.watching import drawn


def held_by_cpu(probe: Any, samples: int, seed: int) -> Any:
    """Return `probe`; if it is a loader that prefetches to a device, batches of a sample of its data, on the CPU.

    A validation loader goes through the classes in order: its first samples would be of few classes.
    """
    from timm.data.loader import PrefetchLoader

    return Sampled(probe, samples, seed) if isinstance(probe, PrefetchLoader) else probe


class Sampled:
    """Batches of a sample of a loader's data, normalised as the loader does, on the CPU.

    Args:
        loader: One that prefetches.
        samples: How many at most.
        seed: Seed of the draw.
    """

    def __init__(self, loader: Any, samples: int, seed: int) -> None:
        self._loader = loader
        self._samples = samples
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        reading = copy.copy(self._loader)  # that one's workers are left alone
        reading.loader = drawn(self._loader.loader, self._samples, self._seed) or self._loader.loader
        for inputs, targets in reading:
            yield inputs.cpu(), targets.cpu()
