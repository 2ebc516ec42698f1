"""How checkpoints are averaged, and what of it cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectivity_hooks.contracts import Aligner
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation import Measuring
from connectivity_hooks_averaging.arguments import above_zero, number, whole

UNIFORM, GREEDY = "uniform", "greedy"

HOLD_OUT = 0.1
"""Share of the training samples that a greedy soup is chosen by."""


@dataclass(frozen=True)
class Averaging:
    """How checkpoints are averaged.

    Attributes:
        method: ``uniform`` or ``greedy``.
        weights: Of each checkpoint given, for a weighted mean; None for equal ones.
        aligner: Brings all others into the frame of the first.
        measuring: How lines are measured, and the correction that the mean gets too.
        threshold: The largest barrier that connects; None for `threshold_of`'s.
        hold_out: Share of the training samples that ``greedy`` chooses by.
        seed: Draws them.
    """

    method: str = UNIFORM
    weights: tuple[float, ...] | None = None
    aligner: Aligner | None = None
    measuring: Measuring = field(default_factory=Measuring)
    threshold: float | None = None
    hold_out: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        whole("points", self.measuring.points, 2)
        whole("refine", self.measuring.refine, 0)
        whole("seed", self.seed, 0)
        if self.threshold is not None:
            number("threshold", self.threshold, 0, float("inf"))
        if self.hold_out is not None:
            number("hold_out", self.hold_out, 0, 1, inside=True)
        if self.weights is not None:
            above_zero("weights", self.weights)
        if self.method not in (UNIFORM, GREEDY):
            raise UsageError(f"method: expected {UNIFORM} or {GREEDY}, found {self.method!r}")
        if self.method == GREEDY and self.weights is not None:
            raise UsageError("weights are given, and a greedy soup is a mean of equal weights; say uniform")
        if self.method == UNIFORM and self.hold_out is not None:
            raise UsageError("hold_out is given, and a uniform mean chooses nothing by held-out samples; say greedy")
        if self.weights is not None and not 0 < sum(self.weights) < float("inf"):
            raise UsageError(f"weights: their sum is {sum(self.weights)}; give smaller ones, only their ratios count")
        if self.measuring.points == 2 and self.measuring.refine == 0:
            raise UsageError("points 2, refine 0: nothing between the ends is measured; give 3 points or more")
