"""The losses of the last steps, looked at together: a look waits for the device, and one batch alone says little."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LENGTH = 50
"""Steps of a window: their mean is known to a seventh of the spread of single steps, and waiting costs nothing."""


@dataclass(frozen=True)
class Look:
    """What a window held.

    Attributes:
        mean: Mean loss of its steps.
        fault: Which of its steps was the first whose loss or gradient was not finite, from 0; None where all were.
        what: ``loss`` or ``gradient``.
    """

    mean: float
    fault: int | None = None
    what: str = ""


class Window:
    """Losses and gradient norms of up to `LENGTH` steps, on the device: nothing waits for it before they are looked at.

    Args:
        device: Of the losses.

    Attributes:
        losses: Of the steps.
        norms: Of the gradients of the steps, as far as they are known.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.losses, self.norms = list[Tensor](), list[Tensor]()

    def add(self, loss: Tensor, norm: Tensor | None) -> None:
        """Note a step."""
        self.losses.append(loss.detach())
        if norm is not None:
            self.norms.append(norm)

    @property
    def filled(self) -> int:
        """Steps in it."""
        return len(self.losses)

    @property
    def full(self) -> bool:
        """Whether it is time to look."""
        return self.filled == LENGTH

    def look(self) -> Look:
        """Return what it held, and empty it."""
        values = {what: tensor.tolist() for what, tensor in self.state().items()}
        self.losses.clear()
        self.norms.clear()
        losses, norms = values["loss"], values["gradient"]
        for step, loss in enumerate(losses):
            if not math.isfinite(loss):
                return Look(math.nan, step, "loss")
            if norms and not math.isfinite(norms[step]):
                return Look(math.nan, step, "gradient")
        return Look(math.fsum(losses) / len(losses))

    def state(self) -> dict[str, Tensor]:
        """Return what it holds, as tensors by name."""
        return {"loss": _stacked(self.losses), "gradient": _stacked(self.norms)}

    def restore(self, loss: Tensor, gradient: Tensor) -> None:
        """Go on from a state."""
        self.losses, self.norms = list(loss.to(self._device)), list(gradient.to(self._device))


def _stacked(values: list[Tensor]) -> Tensor:
    """Return numbers as a tensor on the processor."""
    return torch.stack(values).cpu() if values else torch.zeros(0)
