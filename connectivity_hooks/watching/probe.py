"""Probe data: a sample of what the user hands over, read once and held."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.inputs import mapped, taken
from connectivity_hooks.strangers import guarded_batches, guarded_call
from connectivity_hooks.tasks.split import CachedSplit, Split, draw
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.watching.loaders import drawn
from connectivity_hooks.watching.unmoved import unmoved

Probe: TypeAlias = "Task | Split | Dataset[Any] | Iterable[Any]"

_BATCH = 256
_LABELS = "labels"
_MAY_HAVE_MOVED = (
    "watch: the probe, a {}, cannot be copied ({}), so reading it may have moved what the training reads next; bit "
    "identity with an unwatched training cannot be promised for it; give the data set, or a list of batches"
)
_EXPECTED = "expected a Task, a Split, a data set, an iterable of (inputs, targets), or a pair of tensors"


class ProbeSplit(Split):
    """Batches held as they came, and moved to the model when they are passed.

    Args:
        batches: (inputs, targets); inputs are a tensor, a tuple of arguments or a dict of named ones, rows first.
        device: Where batches are moved.
        dtype: Floating type that inputs get; None leaves them as they are.

    Raises:
        InputError: There are no samples.
    """

    name = "probe"

    def __init__(
        self,
        batches: list[tuple[Any, Tensor]],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not any(len(targets) for _, targets in batches):
            raise InputError("probe: has no samples; a loader or generator that was gone through before gives none")
        self._batches = batches
        self._device = device
        self._dtype = dtype

    def __len__(self) -> int:
        return sum(len(targets) for _, targets in self._batches)

    def batches(self, size: int) -> Iterator[tuple[Any, Tensor]]:
        """Yield (inputs, targets), at most `size` samples at a time."""
        for inputs, targets in self._batches:
            for first in range(0, len(targets), size):
                rows = slice(first, first + size)
                yield mapped(self._placed, taken(inputs, rows)), targets[rows].to(self._device, copy=True)

    def targets(self) -> Tensor:
        """Return all targets (N, …)."""
        return torch.cat([targets for _, targets in self._batches]).to(self._device)

    def head(self, count: int) -> ProbeSplit:
        """Return the first `count` samples."""
        return self._chosen(torch.arange(min(count, len(self))))

    def sample(self, count: int, seed: int) -> ProbeSplit:
        """Return `count` samples drawn without replacement, in the split's order."""
        return self._chosen(draw(len(self), count, seed))

    def at(self, device: torch.device, dtype: torch.dtype) -> ProbeSplit:
        """Return the split for a model on `device` whose weights are of type `dtype`."""
        return ProbeSplit(self._batches, device, dtype)

    def _placed(self, value: Tensor) -> Tensor:
        # Always a copy: a model may write to its inputs, and those held are looked at again at every check.
        return value.to(self._device, self._dtype if value.is_floating_point() else None, copy=True)

    def _chosen(self, rows: Tensor) -> ProbeSplit:
        batches, first = [], 0
        for inputs, targets in self._batches:
            here = rows[(rows >= first) & (rows < first + len(targets))] - first
            if len(here):
                batches.append((taken(inputs, here), taken(targets, here)))
            first += len(targets)
        return ProbeSplit(batches, self._device, self._dtype)


def read_probe(probe: Probe, samples: int, seed: int) -> ProbeSplit:
    """Read a sample of `probe`, once, and leave it as it was.

    From a task (its training split), a split, a data set or a loader over one, `samples` are drawn by an own generator;
    of any other iterable the first are taken. What has a state, such as a sampler or generators of its own, is read as
    a copy (`unmoved`); where none can be made, a warning says that bit identity cannot be promised.

    Args:
        probe: See `connectivity_hooks.watch`.
        samples: How many at most.
        seed: Seed of the draw.

    Raises:
        InputError: A batch is not a pair (inputs, targets) of one length, or there are no samples.
        UsageError: `probe` is something else.
    """
    if isinstance(probe, Task):
        return read_probe(probe.train, samples, seed)
    if isinstance(probe, CachedSplit):
        return ProbeSplit(list(probe.sample(samples, seed).batches(_BATCH)))
    if _is_pair(probe):
        return ProbeSplit([_checked(probe)]).sample(samples, seed)
    if isinstance(probe, (list, tuple)):  # batches that have been read have no state
        return ProbeSplit(_first(probe, samples))
    if not isinstance(probe, (Split, Dataset, Iterable)):
        raise UsageError(f"probe: {_EXPECTED}, found {type(probe).__name__}")
    with unmoved(probe) as unmoved_probe:
        held = _read(unmoved_probe.source, samples, seed)
    if unmoved_probe.fault and not getattr(probe, "num_workers", 0):  # workers read copies
        warnings.warn(_MAY_HAVE_MOVED.format(type(probe).__name__, unmoved_probe.fault), stacklevel=2)
    return held


def _read(probe: Any, samples: int, seed: int) -> ProbeSplit:
    if isinstance(probe, Split):
        return ProbeSplit(list(probe.sample(samples, seed).batches(_BATCH)))
    loader = DataLoader(probe, batch_size=_BATCH) if isinstance(probe, Dataset) else probe
    by_number = drawn(loader, samples, seed) if isinstance(loader, DataLoader) else None
    if by_number is not None:
        try:
            return ProbeSplit(_first(by_number, samples))
        except InputError:  # only the loader's own sampler may know how to ask, or which samples make a batch
            pass
    return ProbeSplit(_first(loader, samples))


def _first(batches: Iterable[Any], samples: int) -> list[tuple[Any, Tensor]]:
    held: list[tuple[Any, Tensor]] = []
    left = samples
    for batch in guarded_batches(batches, "probe"):
        with guarded_call("probe: a batch cannot be read"):
            inputs, targets = _checked(batch)
            # Copies: a loader may fill the same buffers again, and what is the user's is never written to.
            held.append((mapped(torch.clone, taken(inputs, slice(left))), targets[:left].clone()))
        left -= len(targets)
        if left <= 0:
            break
    return held


def _checked(batch: Any) -> tuple[Any, Tensor]:
    if isinstance(batch, Mapping) and _LABELS in batch:
        batch = ({name: value for name, value in batch.items() if name != _LABELS}, batch[_LABELS])
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not isinstance(batch[1], Tensor):
        raise InputError(
            f"probe: a batch is a {type(batch).__name__}, expected (inputs, targets) or a dict with {_LABELS!r}"
        )
    inputs, targets = batch
    lengths = _lengths(inputs)
    if set(lengths) != {len(targets)}:
        raise InputError(f"probe: a batch has {len(targets)} targets and inputs of {lengths} rows; expected as many")
    return inputs, targets if targets.is_floating_point() else targets.long()


def _lengths(inputs: Any) -> list[int]:
    if isinstance(inputs, Tensor):
        return [len(inputs)]
    parts = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, (tuple, list)) else ()
    return [length for part in parts for length in _lengths(part)]


def _is_pair(probe: Any) -> bool:
    return isinstance(probe, (tuple, list)) and len(probe) == 2 and all(isinstance(part, Tensor) for part in probe)
