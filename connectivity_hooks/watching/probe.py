"""Probe data: a sample of what the user hands over, read once and held."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.batches import Batch, BatchReader
from connectivity_hooks.model.inputs import mapped, taken
from connectivity_hooks.strangers import guarded_batches, guarded_call
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.tasks.split import CachedSplit, Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.watching.loaders import drawn
from connectivity_hooks.watching.unmoved import unmoved

Probe: TypeAlias = "Task | Split | Dataset[Any] | Iterable[Any]"

_BATCH = 256
PROBE = "probe"
"""Name of the split, and the first word of what is said of it."""

_MAY_HAVE_MOVED = (
    "watch: the probe, a {}, cannot be copied ({}), so reading it may have moved what the training reads next; bit "
    "identity with an unwatched training cannot be promised for it; give the data set, or a list of batches"
)
_EXPECTED = "expected a Task, a Split, a data set, an iterable of (inputs, targets), or one batch"


def read_probe(probe: Probe, samples: int, seed: int) -> BatchedSplit:
    """Read a sample of `probe`, once, and leave it as it was.

    From a task (its training split), a split, a data set or a loader over one, `samples` are drawn by an own generator;
    of any other iterable the first are taken. What has a state, such as a sampler or generators of its own, is read as
    a copy (`unmoved`); where none can be made, a warning says that bit identity cannot be promised.

    Args:
        probe: See `connectivity_hooks.watch`.
        samples: How many at most.
        seed: Seed of the draw.

    Raises:
        InputError: A batch is not inputs and targets of one length (see `read_batch`), or there are no samples.
        UsageError: `probe` is something else.
    """
    if isinstance(probe, Task):
        return read_probe(probe.train, samples, seed)
    if isinstance(probe, CachedSplit):
        return BatchedSplit(PROBE, list(probe.sample(samples, seed).batches(_BATCH)))
    if _is_batch(probe):
        return BatchedSplit(PROBE, [_checked(probe, BatchReader(PROBE))]).sample(samples, seed)
    if isinstance(probe, (list, tuple)):  # batches that have been read have no state
        return BatchedSplit(PROBE, _first(probe, samples))
    if not isinstance(probe, (Split, Dataset, Iterable)):
        raise UsageError(f"probe: {_EXPECTED}, found {type(probe).__name__}")
    with unmoved(probe) as unmoved_probe:
        held = _read(unmoved_probe.source, samples, seed)
    if unmoved_probe.fault and not getattr(probe, "num_workers", 0):  # workers read copies
        warnings.warn(_MAY_HAVE_MOVED.format(type(probe).__name__, unmoved_probe.fault), stacklevel=2)
    return held


def _read(probe: Any, samples: int, seed: int) -> BatchedSplit:
    if isinstance(probe, Split):
        return BatchedSplit(PROBE, list(probe.sample(samples, seed).batches(_BATCH)))
    loader = DataLoader(probe, batch_size=_BATCH) if isinstance(probe, Dataset) else probe
    by_number = drawn(loader, samples, seed) if isinstance(loader, DataLoader) else None
    if by_number is not None:
        try:
            return BatchedSplit(PROBE, _first(by_number, samples))
        except InputError:  # only the loader's own sampler may know how to ask, or which samples make a batch
            pass
    return BatchedSplit(PROBE, _first(loader, samples))


def _first(batches: Iterable[Any], samples: int) -> list[Batch]:
    held: list[Batch] = []
    left, reader = samples, BatchReader(PROBE)
    for number, batch in enumerate(guarded_batches(batches, "probe")):
        with guarded_call("probe: a batch cannot be read"):
            inputs, targets = _checked(batch, reader, number)
            # Copies: a loader may fill the same buffers again, and what is the user's is never written to.
            held.append((mapped(torch.clone, taken(inputs, slice(left))), targets[:left].clone()))
        left -= len(targets)
        if left <= 0:
            break
    return held


def _checked(batch: Any, reader: BatchReader, number: int = 0) -> Batch:
    inputs, targets = reader.read(batch, number)
    return inputs, targets if targets.is_floating_point() else targets.long()


def _is_batch(probe: Any) -> bool:
    """Say whether it is one batch, rather than an iterable of several."""
    if isinstance(probe, (tuple, list)):
        return len(probe) == 2 and all(isinstance(part, Tensor) for part in probe)
    return isinstance(probe, (Tensor, Mapping))
