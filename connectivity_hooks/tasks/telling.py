"""The few samples by which a loss is settled: the first ones, and of those behind them what two alike would hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from connectivity_hooks.model.batches import IGNORED, MASK, Batch
from connectivity_hooks.model.inputs import Inputs, taken
from connectivity_hooks.tasks.split import CachedSplit, Split

_FIRST, _MASKED, _PLAIN = 64, 1024, 16
"""Samples that are looked at; of those with a mask, which are texts, more, of those with no more than a target less."""


def telling(split: Split) -> CachedSplit:
    """Return the first two samples of a split, with others where these differ in their labels or how much counts.

    A model that leaves out padding, or averages over samples, agrees with one that does not on samples of one length.
    So those with the least and the most padding are taken along, and those with the fewest and the most labels that
    count; and where the first two do not have them, one with the rarest and one with the most frequent label, or those
    with the smallest and the largest targets. All are of one batch, since others may have another shape. Only the
    first samples of a split are looked at: a stream would have to be gone through for more.
    """
    first = next(iter(split.head(2).batches(2)))
    found: Batch | None = None
    for batch in _looked_at(split, first):
        lengths = _by_length(batch)
        if lengths or found is None:
            rows = torch.tensor(sorted({0, min(1, len(batch[1]) - 1)} | lengths | _by_label(batch[1])))
            found = taken(batch[0], rows), taken(batch[1], rows)
        if lengths:
            break
    return CachedSplit(split.name, *(first if found is None else found))


def _looked_at(split: Split, first: Batch) -> Iterator[Batch]:
    inputs, targets = first
    masked = _mask(inputs) is not None
    dense = targets.ndim > 1 and not targets.is_floating_point()
    yield from split.head(_MASKED if masked else _FIRST if dense else _PLAIN).batches(_FIRST)


def _by_length(batch: Batch) -> set[int]:
    """Return the rows of a batch of which the least and the most counts; none where all of each sample does."""
    rows: set[int] = set()
    told = False
    for counts in _counts(batch):
        here = counts.flatten(1).sum(1)
        told |= not bool(counts.all())
        some = here.masked_fill(here == 0, counts[0].numel())  # of a sample of which nothing counts nothing is learnt
        rows |= {int(some.argmin()), int(here.argmax())}
    return rows if told else set()


def _by_label(targets: Tensor) -> set[int]:
    """Return the rows with the rarest and the most frequent label, or the smallest and the largest targets.

    What the first two have already is not looked for.
    """
    if not targets.is_floating_point():
        return _by_class(targets.flatten(1) if targets.ndim > 1 else targets[:, None])
    sizes = targets.double().flatten(1).sum(1) if targets.ndim > 1 else targets.double()
    ends = {int(sizes.argmin()), int(sizes.argmax())}
    return {row for row in ends if not bool((sizes[:2] == sizes[row]).any())}


def _by_class(labels: Tensor) -> set[int]:
    found, counts = labels[labels != IGNORED].unique(return_counts=True)
    if not len(found):
        return set()
    ends = found[counts.argmin()], found[counts.argmax()]
    return {int((labels == label).any(1).int().argmax()) for label in ends if not bool((labels[:2] == label).any())}


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
