"""Samples drawn from a loader: from its data set by number, so that its own order of samples is not begun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SubsetRandomSampler

# Samples of one batch where the loader does not say; only the memory while they are read depends on it.
_BATCH = 256


def drawn(loader: DataLoader[Any], samples: int, seed: int) -> DataLoader[Any] | None:
    """Return a loader over a sample of the same data, made into batches by the same function.

    Args:
        loader: Over a data set that is read by number, or a stream.
        samples: How many at most.
        seed: Seed of the draw.

    Returns:
        The loader; None for a stream, and where only the loader's own sampler knows what to ask the data set for.
    """
    if isinstance(loader.dataset, IterableDataset):
        return None
    sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    if loader.batch_sampler is not None:
        size = loader.batch_size or _BATCH
        return _like(loader, batch_sampler=_batches(_drawn_rows(loader, sampler, samples, seed), size))
    if isinstance(sampler, BatchSampler):  # the data set is asked for several samples at once
        rows = _drawn_rows(loader, sampler.sampler, samples, seed)
        return _like(loader, batch_size=None, sampler=_batches(rows, sampler.batch_size))
    if type(sampler).__module__.partition(".")[0] == "torch":  # each entry of the data set is a batch
        return _like(loader, batch_size=None, sampler=_drawn_rows(loader, sampler, samples, seed, in_order=False))
    return None


def _drawn_rows(
    loader: DataLoader[Any], sampler: object, samples: int, seed: int, *, in_order: bool = True
) -> list[int]:
    """Return numbers of samples, drawn without replacement among those that the loader would give."""
    known: Sequence[int] = range(len(loader.dataset))  # type: ignore[arg-type]
    if isinstance(sampler, SubsetRandomSampler):
        known = sampler.indices
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:samples]
    return [known[index] for index in (order.sort().values if in_order else order).tolist()]


def _batches(rows: list[int], size: int) -> list[list[int]]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _like(loader: DataLoader[Any], **order: Iterable[Any] | None) -> DataLoader[Any]:
    workers: dict[str, Any] = {"num_workers": loader.num_workers}
    if loader.num_workers:
        workers |= {
            "worker_init_fn": loader.worker_init_fn,
            "multiprocessing_context": loader.multiprocessing_context,
        }
    return DataLoader(loader.dataset, collate_fn=loader.collate_fn, **workers, **order)  # type: ignore[arg-type]
