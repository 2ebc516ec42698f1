"""The answer in words: are the two checkpoints connected by this path?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from connectivity_hooks.paths.path import MEASURED

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.barriers import Barriers
    from connectivity_hooks.evaluation.evaluation import Evaluation

ERROR_THRESHOLD = 0.02
"""Frankle et al. 2020 call a rise of the error by less than 2 points stable; here it counts from the worse end."""

LOSS_THRESHOLD = 0.05
"""For a loss without errors: a rise of less than 5 % of the larger end's loss."""


@dataclass(frozen=True)
class Conclusion:
    """A verdict and the sentences that carry it.

    Attributes:
        verdict: ``proven`` (a bound holds for the whole path and is no barrier), ``connected`` (as far as measured),
            or ``barrier``.
        headline: One short sentence.
        sentences: What was measured or proven, on which split, with which uncertainty.
    """

    verdict: Literal["proven", "connected", "barrier"]
    headline: str
    sentences: tuple[str, ...]


def conclude(evaluation: Evaluation) -> Conclusion:
    """Say whether the path connects its ends on the training split, and what is known of it."""
    split = next(iter(evaluation.curves))
    train = evaluation.barriers[split]
    bound = evaluation.bound[split]
    low = _is_low(train)
    sentences = [_rise(name, figures) for name, figures in evaluation.barriers.items()]
    sentences += [_knowledge(evaluation, name) for name in evaluation.curves]
    sentences += _gaps(evaluation)
    builder = evaluation.path.builder or "given"
    if low and bound is not None:
        headline = f"Connected, and proven: along the {builder} path the {split} loss never exceeds {bound:.4g}."
        return Conclusion("proven", headline, tuple(sentences))
    if low:
        headline = f"Connected as far as measured: no barrier was found along the {builder} path."
        return Conclusion("connected", headline, tuple(sentences))
    headline = f"Not connected by the {builder} path: the {split} loss rises to {train.loss_max:.4g}."
    return Conclusion("barrier", headline, tuple(sentences))


def _gaps(evaluation: Evaluation) -> list[str]:
    """Say why a path that claims guarantees gets no bound."""
    if evaluation.proven or set(evaluation.path.guarantees) == {MEASURED}:
        return []
    refuted = tuple(evaluation.guarantees) != evaluation.path.guarantees and evaluation.batch_norm == "stored"
    claim = "that a check refutes; no bound is given" if refuted else "and gets no bound"
    return [f"The path claims guarantees {claim}: {'; '.join(evaluation.proof.gaps)}."]


def _is_low(figures: Barriers) -> bool:
    if not math.isfinite(figures.loss_max):
        return False
    if figures.error_max is not None and figures.error_ends is not None:
        return figures.error_max - max(figures.error_ends) < ERROR_THRESHOLD
    return figures.barrier_entezari <= max(figures.barrier_interval, LOSS_THRESHOLD * max(figures.loss_ends))


def _rise(split: str, figures: Barriers) -> str:
    ends = f"{figures.loss_ends[0]:.4g} and {figures.loss_ends[1]:.4g}"
    text = f"On {split} the loss is {ends} at the ends and at most {figures.loss_max:.4g} on the path; "
    if figures.barrier_entezari > 0:
        text += (
            "it rises highest above the straight line between the ends' losses at "
            f"t = {figures.worst_t:.3f}, by {figures.barrier_entezari:.4g} ± {figures.barrier_interval:.2g}."
        )
    else:
        text += "it never rises above the straight line between the ends' losses."
    if figures.error_max is not None and figures.error_ends is not None:
        left, right = (f"{100 * error:.2f} %" for error in figures.error_ends)
        text += f" The error is {left} and {right} at the ends and at most {100 * figures.error_max:.2f} %."
    return text


def _knowledge(evaluation: Evaluation, split: str) -> str:
    bound = evaluation.bound[split]
    count = len(evaluation.curves[split])
    if bound is None:
        return f"On {split} this is measured at {count} points; between them nothing is proven."
    return f"On {split} the bound {bound:.4g} is proven for every t, not only the {count} shown."
