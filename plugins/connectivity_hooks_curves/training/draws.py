"""What chance decides in a training: the order of the samples, t, and the seed of dropout and augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import IGNORED, Drawn, Split


class Chance(NamedTuple):
    """What is drawn for one step.

    Attributes:
        t: In [0, 1), where on the curve.
        seed: For whatever the module and the augmentation draw.
    """

    t: float
    seed: int


def chance(seed: int, step: int, part: int = 0) -> Chance:
    """Return what is drawn for a part of a step: always the same, whatever was drawn before, in whichever process."""
    digest = hashlib.sha256(f"{seed} {step} {part}".encode()).digest()
    # 53 bits: all that a float between 0 and 1 has; 63: what `manual_seed` takes.
    return Chance((int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53, int.from_bytes(digest[8:16], "big") >> 1)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the processor and one accelerator, and leave every other one alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


class Batches:
    """Batches of a split, epoch after epoch, from wherever a training is.

    A batch of one sample is left out where there are larger ones: it is the rest of an epoch, whose order is another in
    the next one, and batch norm has no statistics of it. So is a batch whose labels are all ignored: it has no loss.

    Args:
        split: Of training.
        size: Samples of a batch.
        seed: Of the order.

    Attributes:
        epoch: Epochs that are done.
        given: Batches of the present one that are done.
        rows: Samples of it that are done.
        singles: Whether batches of one sample are all there is.
    """

    def __init__(self, split: Split, size: int, seed: int) -> None:
        self._split, self._size, self._seed = split, size, seed
        self.epoch, self.given, self.rows = 0, 0, 0
        self.singles = size == 1 or len(split) == 1
        self._may_be_empty = _some_ignored(split)

    def __iter__(self) -> Iterator[Drawn]:
        """Yield batches without end; `done` has to be told of each before the next is asked for."""
        while True:
            found = self.given > 0
            for drawn in self._split.shuffled(self._size, self._seed, epoch=self.epoch, start=self.given):
                if self._is_left_out(drawn.targets):
                    self.done(drawn)
                    continue
                found = True
                yield drawn
            if not found and self.singles:
                raise InputError("data: the training split gave no batch with labels that count")
            self.singles |= not found
            self.epoch, self.given, self.rows = self.epoch + 1, 0, 0

    def done(self, drawn: Drawn) -> None:
        """Count a batch as done."""
        self.given += 1
        self.rows += len(drawn.targets)

    def _is_left_out(self, targets: Tensor) -> bool:
        if len(targets) == 1 and not self.singles:
            return True
        return self._may_be_empty and bool((targets == IGNORED).all())

    @property
    def epochs(self) -> float:
        """Epochs that are done, with the part of the one that is under way."""
        return self.epoch + self.rows / len(self._split)

    def state(self) -> dict[str, int]:
        """Return where it is."""
        return {"epoch": self.epoch, "given": self.given, "rows": self.rows, "singles": int(self.singles)}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.epoch, self.given, self.rows = state["epoch"], state["given"], state["rows"]
        self.singles = bool(state["singles"])


def _some_ignored(split: Split) -> bool:
    """Say whether some labels do not count; asked once, since looking at every batch would wait for the device."""
    try:
        targets = split.targets()
    except InputError:  # batches of targets of other shapes each
        return True
    return not targets.is_floating_point() and bool((targets == IGNORED).any())
