"""The few samples by which a loss is settled: the first ones, and of those behind them what two alike would hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from connectivity_hooks.model.batches import IGNORED, MASK, Batch
from connectivity_hooks.model.inputs import Inputs, taken
from connectivity_hooks.tasks.split import CachedSplit, Split

_FIRST, _MASKED = 64, 1024
"""Samples that are looked at; of those with a mask, which are texts, more."""


def telling(split: Split) -> CachedSplit:
    """Return the first two samples of a split, with up to four others where these differ in how much of them counts.

    A model that leaves out padding, or averages over samples, agrees with one that does not on samples of one length.
    So those with the least and the most padding are taken along, and those with the fewest and the most labels that
    count; all are of one batch, since others may have another shape. Only the first samples of a split are looked at:
    a stream would have to be gone through for more.
    """
    first = next(iter(split.head(2).batches(2)))
    for batch in _looked_at(split, first):
        rows = _rows(batch)
        if rows is not None:
            return CachedSplit(split.name, taken(batch[0], rows), taken(batch[1], rows))
    return CachedSplit(split.name, *first)


def _looked_at(split: Split, first: Batch) -> Iterator[Batch]:
    inputs, targets = first
    masked = _mask(inputs) is not None
    if masked or (targets.ndim > 1 and not targets.is_floating_point()):
        yield from split.head(_MASKED if masked else _FIRST).batches(_FIRST)


def _rows(batch: Batch) -> Tensor | None:
    """Return the rows to take of a batch; None where all of each of its samples counts."""
    rows, told = {0, min(1, len(batch[1]) - 1)}, False
    for counts in _counts(batch):
        here = counts.flatten(1).sum(1)
        told |= not bool(counts.all())
        some = here.masked_fill(here == 0, counts[0].numel())  # of a sample of which nothing counts nothing is learnt
        rows |= {int(some.argmin()), int(here.argmax())}
    return torch.tensor(sorted(rows)) if told else None


def _counts(batch: Batch) -> Iterator[Tensor]:
    inputs, targets = batch
    mask = _mask(inputs)
    if mask is not None:
        yield mask != 0
    if targets.ndim > 1 and not targets.is_floating_point():
        yield targets != IGNORED


def _mask(inputs: Inputs) -> Tensor | None:
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.ndim > 1 else None
