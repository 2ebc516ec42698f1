"""What was found on one split: a verdict from the climbs of loss and error, and from the bound where one is proven."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from connectivity_hooks.evaluation.climb import Climb, climb_of_error, climb_of_loss
from connectivity_hooks.evaluation.perplexity import perplexity
from connectivity_hooks.evaluation.units import TOKEN
from connectivity_hooks.model.weights import same

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation

Verdict = Literal["proven", "connected", "undecided", "barrier"]


@dataclass(frozen=True)
class Finding:
    """What was found on one split.

    Attributes:
        verdict: ``proven``: a bound on the loss holds for the whole path, and neither it nor the measured error is a
            barrier; ``connected``: neither loss nor error rises, as far as measured; ``undecided``: too few samples, or
            too few points of the path, to tell; ``barrier``: the loss or the error rises, or is not a finite number.
        loss: How far the loss climbs above the worse end.
        error: The same of the error; None where the loss has no errors.
        loss_is_low: Whether the proven bound is no barrier; then the loss that was measured decides nothing.
        unit: What counts once in both, see `Evaluation.unit`.
        perplexity: At the worse end, and at `loss.t`, the highest point between the ends; None where the loss is not
            that of tokens, or is not a finite number.
    """

    verdict: Verdict
    loss: Climb
    error: Climb | None
    loss_is_low: bool
    unit: str | None = None
    perplexity: tuple[float, float] | None = None


def find(evaluation: Evaluation, split: str) -> Finding:
    """Judge one split."""
    curve, ends = evaluation.curves[split], evaluation.barriers[split].loss_ends
    loss, error = climb_of_loss(curve, evaluation.guessing.get(split)), climb_of_error(curve)
    bound = evaluation.bound[split]
    loss_is_low = bound is not None and bound - max(ends) <= loss.counts_from
    states = {"low" if loss_is_low else loss.state, "low" if error is None else error.state}
    verdict: Verdict = "proven" if loss_is_low else "undecided" if "undecided" in states else "connected"
    if same_weights(evaluation):
        verdict = "connected"
    if "rises" in states or not all(map(math.isfinite, ends)):
        verdict = "barrier"
    return Finding(verdict, loss, error, loss_is_low, evaluation.unit, _perplexity(evaluation, max(ends), loss))


def _perplexity(evaluation: Evaluation, worse: float, loss: Climb) -> tuple[float, float] | None:
    if evaluation.unit != TOKEN or loss.t is None or not math.isfinite(worse + loss.height):
        return None
    return perplexity(worse), perplexity(worse + loss.height)


def same_weights(evaluation: Evaluation) -> bool:
    """Say whether the path never leaves one set of weights, so that few samples leave nothing open."""
    path = evaluation.path
    return evaluation.length == 0 and all(
        same(tensor, path.start[name]) for point in path.points() for name, tensor in point.items()
    )
