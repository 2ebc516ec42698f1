"""Probe data from timm's loaders, which normalise on the device they feed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from connectivity_hooks.tasks.split import draw

_BATCH = 256


def held_by_cpu(probe: Any, samples: int, seed: int) -> Any:
    """Return `probe`; if it is a loader that prefetches to a device, batches of a sample of its data, on the CPU.

    A validation loader goes through the classes in order: its first samples would be of few classes.
    """
    from timm.data.loader import PrefetchLoader

    return _batches(probe, samples, seed) if isinstance(probe, PrefetchLoader) else probe


def _batches(loader: Any, samples: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    fed = loader.loader
    if not isinstance(fed.dataset, IterableDataset):
        rows = draw(len(fed.dataset), samples, seed).tolist()
        loader = copy.copy(loader)  # normalises as the loader does, and leaves that one's workers alone
        loader.loader = DataLoader(
            Subset(fed.dataset, rows),
            batch_size=fed.batch_size or _BATCH,
            num_workers=fed.num_workers,
            collate_fn=fed.collate_fn,
        )
    for inputs, targets in loader:
        yield inputs.cpu(), targets.cpu()
