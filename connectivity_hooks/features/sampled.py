"""A store that keeps a uniform sample of the rows of all passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.pooled import Pooled
from connectivity_hooks.features.reservoir import Reservoir
from connectivity_hooks.features.rows import samples_of_pass
from connectivity_hooks.features.sequence_first import SequenceFirst
from connectivity_hooks.features.store import CaughtPass, Store

_NOT_ALWAYS = (
    "some passes reach it and others do not, or call it another number of times: its rows would be of other samples"
)

_IMAGES = 4
"""Axes of a batch of images, whose first is the samples; what comes with tokens first has two or three."""

_UNSURE = (
    "in a model that works with tokens first (batch_first=False), nothing tells whether its rows are samples; capture "
    "one of the sequence-first modules beside it, or no samples=, which keeps the pass whole"
)


@final
class Sampled(Store):
    """Keeps `samples` rows, drawn uniformly from all that pass, of every layer the same ones.

    What a sequence-first module puts out, (T, N, n), is turned to (N, T, n), and tells of the other layers whether
    their rows are samples; a layer whose rows may be tokens is left out (`connectivity_hooks.features.sequence_first`).

    Args:
        model: The module listened to.
        samples: Rows kept.
        seed: Seed of the draw.
        left_out: As for every `Store`; so is `pooled`.
        pooled: Takes neurons (N, n).
    """

    def __init__(
        self, model: nn.Module, samples: int, seed: int, left_out: LeftOut, pooled: Pooled | None = None
    ) -> None:
        super().__init__(left_out, pooled)
        self._sequence_first = SequenceFirst(model)
        self._images = self._given_samples = False
        self._unsure: set[str] = set()
        self._reservoir = Reservoir(samples, seed)

    @property
    def indices(self) -> Tensor:
        """Positions in the stream, counted from 0, of the rows kept, (K,) int64."""
        return self._reservoir.indices

    def listens(self, given: list[Any], *, training: bool) -> bool:
        """Listen to every pass, knowing how many samples it has."""
        self._unsure.clear()
        self._images = any(isinstance(value, Tensor) and value.ndim == _IMAGES for value in given)
        return True

    def taken(self, layer: str, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return a copy whose first axis is the samples."""
        if tensor.is_nested or (self._images and tensor.ndim == _IMAGES):
            return super().taken(layer, module, tensor)
        rows = self._sequence_first.rows(layer, tensor, self.rows_given)
        if rows == "unsure":
            self._unsure.add(layer)
        # its second axis is the samples: where that is as long as the first axis given, that one is no tokens
        self._given_samples |= rows == "second" and tensor.size(0) != tensor.size(1)
        found = super().taken(layer, module, tensor)
        return found.transpose(0, 1) if rows == "second" and self.pooled is None else found

    def keep(self, passed: CaughtPass) -> None:
        """Take the rows of a pass into the sample."""
        if not (self._images or self._given_samples):
            for layer in sorted(self._unsure - self.left_out.problems.keys()):
                self.leave_out(layer, InputError(_UNSURE))
        caught, rows = aligned(self, passed, self.features)
        if caught:
            sample_rows(self, caught, self._reservoir.offer(rows))


def aligned(store: Store, passed: CaughtPass, before: Iterable[str]) -> tuple[dict[str, Tensor], int]:
    """Return what has one row for each sample, and how many; leave out every layer that has not, or not always.

    Args:
        store: Where layers are left out.
        passed: One pass; one that reached no layer is no pass of theirs.
        before: The names that all passes before it had; none for the first.
    """
    rows = samples_of_pass(passed.given, passed.caught.values()) or 0
    names = set(before)
    for name in names ^ passed.caught.keys() if names and passed.caught else ():
        store.leave_out(name, InputError(_NOT_ALWAYS))
    for name, tensor in passed.caught.items():
        store.require_rows(name, tensor, rows)
    return {name: tensor for name, tensor in passed.caught.items() if name not in store.left_out}, rows


def sample_rows(store: Store, caught: dict[str, Tensor], stay: Tensor) -> None:
    """Keep the rows `stay` of those kept and those caught, layer by layer."""
    for name, tensor in caught.items():
        try:
            store.features[name] = kept_rows(store.features.get(name, tensor[:0]), tensor, stay)
        except Exception as error:  # rows of another shape than before: other lengths, other image sizes
            store.leave_out(name, error)


def kept_rows(kept: Tensor, new: Tensor, stay: Tensor) -> Tensor:
    """Return the rows `stay` of those kept and those new, without waiting for the device they are on."""
    rows = stay.pin_memory() if new.device.type == "cuda" else stay
    return torch.cat([kept, new])[rows.to(new.device, non_blocking=True)]
