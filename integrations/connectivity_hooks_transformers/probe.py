"""Probe data as the Trainer's models take it: some make their decoder's inputs of the labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from connectivity_hooks.tasks import Split, Task

_LABELS = "labels"


def reads_labels(model: nn.Module) -> bool:
    """Say whether a model makes inputs of its labels, as T5, Whisper and other encoders with a decoder do."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def labels_kept(probe: Any) -> Any:
    """Return a probe whose batches keep their labels among the inputs, beside having them as targets."""
    if isinstance(probe, DataLoader):
        kept = copy.copy(probe)
        kept.collate_fn = LabelsKept(probe.collate_fn)
        kept._iterator = None  # its workers make batches by the other function
        return kept
    if isinstance(probe, (list, tuple)):
        return [_with_labels(batch) for batch in probe] if any(isinstance(each, Mapping) for each in probe) else probe
    if isinstance(probe, (Split, Task)) or not isinstance(probe, Iterable):
        return probe
    return _Batches(probe)


class LabelsKept:
    """A function that makes batches, and then pairs (inputs with their labels, labels) of those that have labels.

    Args:
        collate: Makes batches.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: Any) -> Any:
        """Return the batch of `samples`."""
        return _with_labels(self._collate(samples))


class _Batches:
    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return map(_with_labels, self._batches)


def _with_labels(batch: Any) -> Any:
    labels = batch.get(_LABELS) if isinstance(batch, Mapping) else None
    return (dict(batch), labels) if isinstance(labels, Tensor) else batch
