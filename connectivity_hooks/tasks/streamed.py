"""A split that does not fit in memory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import Batch, with_labels
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors, taken
from connectivity_hooks.tasks.batched import BatchedSplit, joined, joined_targets, rows_among
from connectivity_hooks.tasks.split import CachedSplit, Drawn, Split, draw, generator_of, moved


class StreamedSplit(Split):
    """A split that does not fit in memory: its loader is gone through at every pass.

    Args:
        name: ``train`` or ``test``.
        loader: Yields (inputs, targets) in the same order at every pass; its own batch size is used.
        device: Where batches are moved.
        dtype: Floating type they get.

    Raises:
        InputError: Its batches have targets of other shapes. At a later pass, when the loader gives other targets or
            inputs than before: it shuffles, or it augments at random, and figures of two passes could not be compared.
    """

    def __init__(self, name: str, loader: Iterable[Batch], device: torch.device, dtype: torch.dtype) -> None:
        self.name = name
        self._loader = loader
        self._device = device
        self._dtype = dtype
        self._labelled = False
        self._inputs, passed = 0, []
        for inputs, targets in self._raw():
            self._inputs += _checksum(inputs)
            passed.append(targets)
        if not passed:
            raise InputError(f"data: {name} has no samples")
        self._targets = joined_targets(f"data: {name}", passed)
        self._digest = _digest(self._targets)
        if len(self._targets) == 0:
            raise InputError(f"data: {name} has no samples")

    def __len__(self) -> int:
        return len(self._targets)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield (inputs, targets), as many samples at a time as the loader gives."""
        seen, passed = 0, []
        for inputs, targets in self._raw():
            seen += _checksum(inputs)
            passed.append(targets.clone())
            inputs, targets = self._placed((inputs, targets))
            yield with_labels((inputs, targets)) if self._labelled else (inputs, targets)
        if _digest(torch.cat(passed)) != self._digest:
            raise InputError(
                f"data: the {self.name} loader gives another order at every pass; make it with shuffle=False"
            )
        if seen != self._inputs:
            raise InputError(
                f"data: the {self.name} loader gives other inputs at every pass; give one that augments nothing"
            )

    def targets(self) -> Tensor:
        """Return all targets (N, …)."""
        targets: Tensor = self._placed(self._targets.clone())
        return targets

    def head(self, count: int) -> Split:
        """Return the first `count` samples."""
        return self._gathered(torch.arange(min(count, len(self))))

    def sample(self, count: int, seed: int) -> Split:
        """Return `count` samples drawn without replacement, in the split's order."""
        return self._gathered(draw(len(self), count, seed))

    def shuffled(self, size: int, seed: int | torch.Generator, *, epoch: int = 0, start: int = 0) -> Iterator[Drawn]:
        """Yield all samples once, at most `size` at a time: in the loader's order, those of each batch drawn."""
        generator, first, given = generator_of(seed, epoch), 0, 0
        for inputs, targets in self.batches(size):
            for rows in torch.randperm(len(targets), generator=generator).to(targets.device).split(size):
                given += 1
                if given > start:
                    yield Drawn(rows + first, taken(inputs, rows), targets[rows])
            first += len(targets)

    def labelled(self) -> StreamedSplit:
        """Return the split whose targets are also an entry ``labels`` of its named inputs."""
        split = copy.copy(self)
        split._labelled = True
        return split

    def _gathered(self, chosen: Tensor) -> CachedSplit | BatchedSplit:
        held: list[Batch] = []
        first = 0
        for batch in self._raw():
            count = len(batch[1])
            held += [self._placed(part) for part in rows_among([batch], chosen - first)]
            first += count
            if first > int(chosen[-1]):
                break
        split = joined(self.name, held)
        return split.labelled() if self._labelled else split

    def _placed(self, values: Inputs) -> Inputs:
        return moved(values, self._device, self._dtype, self.name)

    def _raw(self) -> Iterator[Batch]:
        for inputs, targets in self._loader:  # it may fill the same buffers again, or give parts of what it holds
            yield mapped(torch.clone, inputs), targets.clone()


def _checksum(inputs: Inputs) -> int:
    """Return the sum of the inputs' bytes, four at a time: exact, whatever the threads, and quicker than a digest.

    Each tensor counts as often as its place says, so that two that were exchanged are another sum.
    """
    return sum(place * _sum(tensor) for place, (_, tensor) in enumerate(named_tensors(inputs), 1))


def _sum(tensor: Tensor) -> int:
    whole = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return int(whole[: len(whole) // 4 * 4].view(torch.int32).sum(dtype=torch.int64))


def _digest(targets: Tensor) -> str:
    return hashlib.sha256(targets.contiguous().view(torch.uint8).cpu().numpy().tobytes()).hexdigest()
