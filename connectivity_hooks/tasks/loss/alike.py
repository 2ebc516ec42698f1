"""The losses of ours that a model's own may be, from the shapes of its outputs and targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks.loss.checking import settled
from connectivity_hooks.tasks.loss.contrastive import CONTRASTIVE
from connectivity_hooks.tasks.loss.loss import Loss
from connectivity_hooks.tasks.loss.named import LOSSES, cross_entropy
from connectivity_hooks.tasks.loss.reading import Reading

_OTHERS = (LOSSES["bce"], LOSSES["mse"], CONTRASTIVE)


@dataclass(frozen=True)
class Alike:
    """A loss that a model's own may be.

    Attributes:
        loss: The loss.
        taken: Whether nobody asked for it, so that it is to be said.
    """

    loss: Loss
    taken: bool = False

    @property
    def shifted(self) -> bool:
        """Whether it is that of the next position."""
        return self.loss.reading is not None and self.loss.reading.shifted

    def words(self, kind: str) -> tuple[str, ...]:
        """Return what is to be said once a model's own loss is seen to be this.

        Args:
            kind: Name of the model's class.
        """
        reading = self.loss.reading
        if self.taken:
            return (f"loss {self.loss.name}: that is what {kind} itself computes, compared on a few samples",)
        if reading is not None and reading.shifted:
            return (f"loss {self.loss.name} of the next token: {kind} moves labels by one position, and so is done",)
        if reading is not None and reading.upsampled:
            return (
                f"loss {self.loss.name} of pixels: outputs are brought to the size of the labels, bilinearly, as "
                f"{kind} itself does",
            )
        return ()


def alike(loss: Loss, outputs: Tensor, targets: Tensor, ignored: int) -> list[Alike]:
    """Return the losses that outputs and targets fit, beginning with what was asked for.

    Args:
        loss: A cross-entropy.
        outputs: Of a few samples.
        targets: Theirs.
        ignored: A label that may be left out beside `IGNORED`.
    """
    return list(_fitting(loss, outputs, targets, ignored))


def _fitting(loss: Loss, outputs: Tensor, targets: Tensor, ignored: int) -> Iterator[Alike]:
    for reading in _readings(loss.reading or Reading(), outputs, targets, ignored):
        if _fits(cross_entropy(reading), outputs, targets):
            yield Alike(settled(cross_entropy(reading), outputs, targets))
    for other in _OTHERS if loss.open else ():
        if _fits(other, outputs, targets):
            yield Alike(other, taken=True)


def _readings(reading: Reading, outputs: Tensor, targets: Tensor, ignored: int) -> Iterator[Reading]:
    plain = replace(reading, ignored=ignored)
    yield plain
    if targets.is_floating_point():
        return
    if outputs.ndim == 3 and targets.shape == outputs.shape[:2] and targets.shape[1] > 1:
        yield replace(plain, shifted=True)
    if outputs.ndim == 4 and targets.ndim == 3 and outputs.shape[2:] != targets.shape[1:]:
        yield replace(plain, upsampled=True)


def _fits(loss: Loss, outputs: Tensor, targets: Tensor) -> bool:
    try:
        loss.check(outputs, targets)
    except InputError:
        return False
    return True
