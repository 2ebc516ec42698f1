"""The sentences below a headline: what was measured, what guessing scores, what is proven, what is refuted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectivity_hooks.contracts.correction import NONE
from connectivity_hooks.evaluation.climb import GUESS_THRESHOLD, LOSS_THRESHOLD, Climb
from connectivity_hooks.evaluation.finding import Finding
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.evaluation.perplexity import in_words, limits, shown
from connectivity_hooks.evaluation.phrases import Figure, at_most, rise, threshold, with_interval
from connectivity_hooks.evaluation.units import error_in, loss_in
from connectivity_hooks.paths.path import MEASURED
from connectivity_hooks.paths.second_end import second_end_in_words
from connectivity_hooks.tasks.guessing import Guess

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.barriers import Barriers
    from connectivity_hooks.evaluation.evaluation import Evaluation


def of_second_end(evaluation: Evaluation) -> list[str]:
    """Say what B is, where it is not the second checkpoint as it was."""
    alignment = evaluation.path.alignment
    return [] if alignment is None else [second_end_in_words(alignment)]


def of_split(evaluation: Evaluation, split: str, found: Finding) -> list[str]:
    """Say what loss and error do on one split."""
    figures = evaluation.barriers[split]
    losses = " and ".join(f"{_number(loss)} at {end}" for loss, end in zip(figures.loss_ends, "AB", strict=True))
    loss = loss_in(evaluation.unit)
    if not all(map(math.isfinite, figures.loss_ends)):
        return [f"On {split} the {loss} is {losses}."]
    between = _between(
        found.loss, f"{figures.loss_max:.4g}", "loss", _reason(found.loss, evaluation.guessing.get(split))
    )
    texts = [" ".join(filter(None, (f"On {split} the {loss} is {losses}{between}.", _above_the_line(figures))))]
    texts += _of_perplexity(evaluation, split)
    if figures.error_max is None or figures.error_ends is None or found.error is None:
        return texts
    left, right = (f"{100 * error:.2f} %" for error in figures.error_ends)
    between = _between(found.error, f"{100 * figures.error_max:.2f} %", "error", "")
    return [*texts, f"On {split} the {error_in(evaluation.unit)} is {left} at A and {right} at B{between}."]


def of_guessing(evaluation: Evaluation, split: str) -> list[str]:
    """Say what a constant answer scores, and which end is not shown to be better."""
    guess, curve = evaluation.guessing.get(split), evaluation.curves[split]
    if guess is None:
        return []
    if guess.is_perfect:
        return [f"The targets of {split} are all the same: a constant answer is never wrong, and little can be learnt."]
    error = "" if guess.error is None else f" and {_a(error_in(evaluation.unit))} of {100 * guess.error:.2f} %"
    loss = f"{guess.loss:.4g}{f' (perplexity {in_words(guess.loss)})' if split in evaluation.perplexity else ''}"
    scores = f"Guessing, the best answer that reads no input, has a loss of {loss}{error} on {split}"
    useless = worthless(guess, curve)
    return [f"{scores}; {' and '.join(useless)} {'are' if len(useless) > 1 else 'is'} not shown to be better."
            if useless else f"{scores}."]  # fmt: skip


def worthless(guess: Guess, curve: Sequence[Measurement]) -> list[str]:
    """Return those of A and B of which the samples do not show that they are better than guessing."""
    return [name for name, end in (("A", curve[0]), ("B", curve[-1])) if not _beats(end, guess)]


def of_knowledge(evaluation: Evaluation) -> list[str]:
    """Say of each split what is proven between the measured points."""
    proven = [
        f"On {split} it is proven for every t, not only the {len(evaluation.curves[split])} shown, that the loss "
        f"{bounded(evaluation, split)}."
        for split, bound in evaluation.bound.items()
        if bound is not None
    ]
    count = len(next(iter(evaluation.curves.values())))
    return proven or [f"This was measured at {count} points of the path; between them nothing is proven."]


def bounded(evaluation: Evaluation, split: str) -> str:
    """Say which bound is proven of the loss, and how it compares with the ends; there is one."""
    bound, larger = evaluation.bound[split] or 0.0, max(evaluation.barriers[split].loss_ends)
    above = bound - larger
    # a millionth: two passes over the same weights in float32 differ by less
    own = "the larger end's own" if above <= 1e-6 * abs(larger) else f"{above:.2g} above the larger end's own"
    return f"never exceeds {bound:.4g}, {own}"


def of_refutation(evaluation: Evaluation) -> list[str]:
    """Say why a path that claims guarantees gets no bound."""
    if evaluation.proven or set(evaluation.path.guarantees) == {MEASURED}:
        return []
    refuted = tuple(evaluation.guarantees) != evaluation.path.guarantees and not evaluation.proof.voided
    claim = "that a check refutes; no bound is given" if refuted else "and gets no bound"
    return [f"The path claims guarantees {claim}: {'; '.join(evaluation.proof.gaps)}."]


def of_correction(evaluation: Evaluation) -> list[str]:
    """Say that the figures are not of the path's own weights, where that is so."""
    if evaluation.correction == NONE:
        return []
    where = "at every t, the ends among them," if evaluation.proof.voided else "between the ends"
    return [f"The weights were corrected {where} by {evaluation.correction} before they were measured."]


def _of_perplexity(evaluation: Evaluation, split: str) -> list[str]:
    """Say what the loss of a language model is in the unit in which they are compared."""
    found = evaluation.perplexity.get(split)
    if found is None:
        return []
    left, right = map(shown, found.ends)
    text = f"On {split} the perplexity is {left} at A and {right} at B"
    if not math.isfinite(evaluation.barriers[split].loss_max):
        return [f"{text}."]
    interval = limits(*found.max_interval)
    known = f" (95 % interval {interval})" if interval else ""
    return [f"{text}, and highest at t = {found.max_t:.3f}: {shown(found.max)}{known}."]


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _number(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "not a finite number"


def _between(climb: Climb, highest: str, of: Figure, reason: str) -> str:
    """Say what a figure does between the ends, and what of it counts; `reason` says why it counts from there."""
    if climb.t is None:
        return "; it was measured nowhere else"
    if not math.isfinite(climb.height):
        return f", and not a finite number at t = {climb.t:.3f}"
    text = ", and no higher in between"
    if not climb.is_flat:
        text = f", and at most {highest} in between, at t = {climb.t:.3f}: {rise(climb, of)} above the worse end"
    counts = threshold(climb.counts_from, of)
    if not math.isfinite(climb.most):
        text += "; of so few there is no confidence interval"
    elif climb.is_flat and climb.most > climb.counts_from:
        text += f"; the 95 % interval reaches {at_most(climb, of)}"
    if climb.state == "undecided":
        return f"{text}, and a rise counts from {counts}{reason}"
    if climb.is_flat:
        return text
    return f"{text}, {'more' if climb.state == 'rises' else 'less'} than the {counts} that count{reason}"


def _reason(climb: Climb, guess: Guess | None) -> str:
    """Say where the threshold of the loss comes from."""
    if guess is not None and climb.counts_from <= GUESS_THRESHOLD * guess.loss:
        return f" ({100 * GUESS_THRESHOLD:g} % of the loss of guessing)"
    return f" ({100 * LOSS_THRESHOLD:g} % of the worse end's loss)"


def _above_the_line(figures: Barriers) -> str:
    if not math.isfinite(figures.barrier_entezari):
        return ""
    if figures.barrier_entezari <= 0:
        return "It never rises above the straight line between the ends' losses."
    height = with_interval(figures.barrier_entezari, figures.barrier_interval, "loss")
    return f"Above the straight line between the ends' losses it is highest at t = {figures.worst_t:.3f}, by {height}."


def _beats(end: Measurement, guess: Guess) -> bool:
    """Say whether an end's loss or its error is shown to be lower than a constant answer's."""
    if guess.error is not None and end.error is not None and end.error + (end.error_interval or 0.0) < guess.error:
        return True
    return end.loss + end.loss_interval < guess.loss
