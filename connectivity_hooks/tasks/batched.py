"""A split held in memory as the batches it came in, which may be padded each to a length of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import LABELS, TOKENS, Batch, with_labels
from connectivity_hooks.model.inputs import concatenated, mapped, named_tensors, taken
from connectivity_hooks.tasks.split import CachedSplit, Drawn, Split, draw, generator_of


class BatchedSplit(Split):
    """Batches held as they came, and moved to a device when they are passed.

    Args:
        name: ``train``, ``test`` or ``probe``.
        batches: (inputs, targets), rows first; no batch is passed that mixes samples of two of them.
        device: Where batches are moved; None leaves them where they are.
        dtype: Floating type that inputs get; None leaves them as they are.

    Raises:
        InputError: There are no samples.
    """

    def __init__(
        self,
        name: str,
        batches: Sequence[Batch],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not any(len(targets) for _, targets in batches):
            raise InputError(f"{name}: has no samples; a loader or generator that was gone through before gives none")
        self.name = name
        self._batches = list(batches)
        self._device = device
        self._dtype = dtype

    def __len__(self) -> int:
        return sum(len(targets) for _, targets in self._batches)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets), at most `size` samples at a time."""
        for batch in self._batches:
            for first in range(0, len(batch[1]), size):
                yield self._given(batch, slice(first, first + size))

    def targets(self) -> Tensor:
        """Return all targets (N, …).

        Raises:
            InputError: Those of two batches have other shapes.
        """
        return joined_targets(self.name, [targets for _, targets in self._batches]).to(self._device)

    def head(self, count: int) -> BatchedSplit:
        """Return the first `count` samples."""
        return self._chosen(torch.arange(min(count, len(self))))

    def sample(self, count: int, seed: int) -> BatchedSplit:
        """Return `count` samples drawn without replacement, in the split's order."""
        return self._chosen(draw(len(self), count, seed))

    def shuffled(self, size: int, seed: int | torch.Generator, *, epoch: int = 0, start: int = 0) -> Iterator[Drawn]:
        """Yield all samples once, at most `size` at a time: the batches are drawn, and then the samples of each."""
        generator = generator_of(seed, epoch)
        firsts = [0]
        for _, targets in self._batches:
            firsts.append(firsts[-1] + len(targets))
        given = 0
        for index in torch.randperm(len(self._batches), generator=generator).tolist():
            batch = self._batches[index]
            for rows in torch.randperm(len(batch[1]), generator=generator).split(size):
                given += 1
                if given > start:
                    inputs, targets = self._given(batch, rows)
                    yield Drawn((rows + firsts[index]).to(targets.device), inputs, targets)

    def labelled(self) -> BatchedSplit:
        """Return the split whose targets are also an entry ``labels`` of its named inputs."""
        return self._like([with_labels(batch) for batch in self._batches])

    def at(self, device: torch.device, dtype: torch.dtype) -> BatchedSplit:
        """Return the split for a model on `device` whose weights are of type `dtype`."""
        return BatchedSplit(self.name, self._batches, device, dtype)

    def _given(self, batch: Batch, rows: slice | Tensor) -> Batch:
        inputs, targets = taken(batch[0], rows), taken(batch[1], rows)
        return mapped(self._placed, inputs), targets.to(self._device, copy=True)

    def _placed(self, value: Tensor) -> Tensor:
        # Always a copy: a model may write to its inputs, and those held are looked at again at every pass.
        return value.to(self._device, self._dtype if value.is_floating_point() else None, copy=True)

    def _chosen(self, rows: Tensor) -> BatchedSplit:
        return self._like(rows_among(self._batches, rows))

    def _like(self, batches: list[Batch]) -> BatchedSplit:
        return BatchedSplit(self.name, batches, self._device, self._dtype)


def rows_among(batches: Sequence[Batch], rows: Tensor) -> list[Batch]:
    """Return the samples of some numbers, in ascending order, out of batches that follow each other."""
    chosen, first = [], 0
    for inputs, targets in batches:
        here = rows[(rows >= first) & (rows < first + len(targets))] - first
        if len(here):
            chosen.append((taken(inputs, here), taken(targets, here)))
        first += len(targets)
    return chosen


def joined(name: str, batches: Sequence[Batch]) -> CachedSplit | BatchedSplit:
    """Return a split of batches: in one tensor for each input where their samples are of one shape, else as they came.

    Raises:
        InputError: There are no samples, the batches have unequal entries, or targets of other shapes.
    """
    if len(batches) == 1:
        return CachedSplit(name, *batches[0])
    if not batches or not alike(f"data: {name}", batches):
        return BatchedSplit(name, batches)
    return CachedSplit(name, concatenated([inputs for inputs, _ in batches]), torch.cat([y for _, y in batches]))


def alike(where: str, batches: Sequence[Batch]) -> bool:
    """Say whether the inputs of all batches have one shape beside the number of samples.

    Raises:
        InputError: The batches have unequal entries, or targets of other shapes; it begins with `where`.
    """
    shapes = [{name: tuple(tensor.shape[1:]) for name, tensor in named_tensors(inputs)} for inputs, _ in batches]
    for found in shapes:
        if found.keys() != shapes[0].keys():
            listed = " and ".join(", ".join(name or "a tensor" for name in each) for each in (shapes[0], found))
            raise InputError(f"{where}: batches have unequal entries, {listed}; expected the same of each")
    _require_one_shape(where, [targets for _, targets in batches])
    return all(found == shapes[0] for found in shapes)


def joined_targets(where: str, targets: Sequence[Tensor]) -> Tensor:
    """Return the targets of all batches, or raise `InputError` where they have other shapes."""
    _require_one_shape(where, targets)
    return torch.cat(list(targets))


def _require_one_shape(where: str, targets: Sequence[Tensor]) -> None:
    shapes = sorted({tuple(each.shape[1:]) for each in targets})
    if len(shapes) > 1:
        found = ", ".join(map(str, shapes[:4]))
        raise InputError(
            f"{where}: the targets of its batches have the shapes {found}; expected one, so pad all to one length "
            f"(of batches with neither {LABELS!r} nor targets these are the {TOKENS!r} or the only input)"
        )
