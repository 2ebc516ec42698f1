"""How a curve is trained: options that every method of training shares."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import option

PRECISIONS = ("full", "bfloat16")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a builder that trains.

    Raises:
        UsageError: The budget is none.
    """

    budget: str = option("2000steps", "How long: steps, epochs, or a time such as 5m, which no run repeats exactly.")
    batch_size: int = option(256, "Training samples of a step.", ge=1)
    lr: float = option(3e-3, "Learning rate of Adam at its largest; rises for a tenth, falls as a cosine.", gt=0)
    weight_decay: float = option(0.0, "λ of λ/2·‖φ(t)‖², on the curve and not on its control points.", ge=0)
    clip: float | None = option(1.0, "Largest norm of the gradient at φ(t); none: as it is.", gt=0)
    target: float | None = option(None, "Stop once the mean training loss of 50 steps is below it.")
    precision: str = option("full", "full: the weights' own type; bfloat16: passes by autocast.", choices=PRECISIONS)

    def __post_init__(self) -> None:
        Budget.parse(self.budget, "budget")
