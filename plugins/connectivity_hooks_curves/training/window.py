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
    """Losses and gradient norms of up to `LENGTH` steps, on the device.

    Attributes:
        values: (2, `LENGTH`) losses and norms; in float32, which is enough to say what is finite and what is lower.
        filled: Steps in it.
    """

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(2, LENGTH, device=device)
        self.filled = 0

    def add(self, loss: Tensor, norm: Tensor | None) -> None:
        """Note a step; nothing waits for the device."""
        self.values[0, self.filled] = loss.detach()
        if norm is not None:
            self.values[1, self.filled] = norm
        self.filled += 1

    @property
    def full(self) -> bool:
        """Whether it is time to look."""
        return self.filled == LENGTH

    def look(self) -> Look:
        """Return what it held, and empty it."""
        losses, norms = self.values[:, : self.filled].tolist()
        self.values.zero_()
        self.filled = 0
        for step, pair in enumerate(zip(losses, norms, strict=True)):
            for what, value in zip(("loss", "gradient"), pair, strict=True):
                if not math.isfinite(value):
                    return Look(math.nan, step, what)
        return Look(math.fsum(losses) / len(losses))
