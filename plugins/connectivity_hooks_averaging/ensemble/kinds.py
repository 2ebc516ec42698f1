"""What is averaged under a loss, and what is counted: probabilities of classes, or predictions of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import Loss
from connectivity_hooks_averaging.ensemble.calibration import Tally, log_probabilities
from connectivity_hooks_averaging.ensemble.diversity import MeanPool, Pool

CLASSES = ("cross-entropy", "bce")


@dataclass
class SquareTally:
    """The sum of squared errors."""

    temperature: float | None = 1.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    def add(self, rows: Tensor, wanted: Tensor) -> None:
        """Count predictions (M, 1) of numbers (M, 1)."""
        self.sums += torch.stack([rows.new_tensor(len(rows)), (rows - wanted).square().sum()]).cpu()

    def figures(self) -> dict[str, Any]:
        """Return the mean squared error."""
        count, total = self.sums.tolist()
        return {"loss": total / count}


AnyTally: TypeAlias = Tally | SquareTally
AnyPool: TypeAlias = Pool | MeanPool


@dataclass(frozen=True)
class Kind:
    """Of a loss: whether classes are predicted, and the types that average and count."""

    loss: Loss
    has_classes: bool

    @staticmethod
    def of(loss: Loss) -> Kind:
        """Return the kind of a loss.

        Raises:
            InputError: It has none.
        """
        if loss.name not in (*CLASSES, "mse"):
            raise InputError(
                f"ensemble: predictions are averaged under cross-entropy, bce (probabilities) and mse (outputs); the "
                f"loss is {loss.name}"
            )
        return Kind(loss, loss.name in CLASSES)

    def rows(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is averaged, (M, C) in float64, and what is right."""
        if self.has_classes:
            return log_probabilities(self.loss, outputs, targets)
        self.loss.check(outputs, targets)
        assert self.loss.fit is not None
        found, wanted = self.loss.fit(outputs.double(), targets)
        return found.reshape(-1, 1), wanted.double().reshape(-1, 1)

    def tally(self, temperature: float | None = 1.0) -> AnyTally:
        """Return what counts."""
        return Tally(temperature) if self.has_classes else SquareTally(temperature)

    def pool(self) -> AnyPool:
        """Return what averages."""
        return Pool() if self.has_classes else MeanPool()
