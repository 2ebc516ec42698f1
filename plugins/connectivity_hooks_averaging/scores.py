"""Loss and error of checkpoints by themselves, two in a pass of the evaluation that compares paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connectivity_hooks.contracts import Correction
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import MEASURED, Path
from connectivity_hooks.tasks import Task


@dataclass(frozen=True)
class Score:
    """Mean loss of some weights on a split, and their error; None where the loss has no errors."""

    loss: float
    error: float | None


Scores = dict[str, Score]
"""By split."""


def scores_of(
    weights: Sequence[Callable[[], Weights]], task: Task, correction: Correction | None = None
) -> list[Scores]:
    """Return the scores of each: two of them are in memory at a time. An odd one costs another a second pass.

    Args:
        weights: Give them.
        task: Model, data and loss.
        correction: What is done to each before it is scored.
    """
    found = list[Scores]()
    for number in range(0, len(weights), 2):
        both = weights[number : number + 2]
        found += _ends(both[0](), both[-1](), task, correction)[: len(both)]
    return found


def _ends(a: Weights, b: Weights, task: Task, correction: Correction | None) -> tuple[Scores, Scores]:
    path = Path.from_points([a, b], guarantees=[MEASURED])
    evaluation = evaluate(path, task, points=2, refine=0, correct=correction)
    one, other = Scores(), Scores()
    for split, figures in evaluation.barriers.items():
        for scores, end in ((one, 0), (other, 1)):
            error = None if figures.error_ends is None else figures.error_ends[end]
            scores[split] = Score(figures.loss_ends[end], error)
    return one, other
