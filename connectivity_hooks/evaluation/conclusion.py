"""The answer in words: are the two checkpoints connected by this path, as to the loss and as to the error?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connectivity_hooks.evaluation import sentences
from connectivity_hooks.evaluation.finding import Finding, Verdict, find, same_weights
from connectivity_hooks.evaluation.phrases import in_perplexity, rises, stays, unclear, with_interval
from connectivity_hooks.evaluation.units import error_in, of_batches, samples_in

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Conclusion:
    """A verdict and the sentences that carry it.

    Loss and error are judged separately, each by how far it climbs above the end where it is larger; `Finding` says
    what the verdicts mean, `climb` where a rise counts from and how intervals are used.

    Attributes:
        verdict: That of the training split: ``proven``, ``connected``, ``undecided`` or ``barrier``.
        headline: What the verdict is about, and what the test split shows where that is something else.
        sentences: What was measured or proven, on which split, with which uncertainty.
        findings: For each split the figures behind the words.
    """

    verdict: Verdict
    headline: str
    sentences: tuple[str, ...]
    findings: Mapping[str, Finding]


def conclude(evaluation: Evaluation) -> Conclusion:
    """Say whether the path connects its ends on the training split, and what is known of it and of the other splits."""
    findings = {split: find(evaluation, split) for split in evaluation.curves}
    split = next(iter(findings))
    texts = sentences.of_second_end(evaluation)  # the others speak of B
    texts += [text for name, found in findings.items() for text in sentences.of_split(evaluation, name, found)]
    texts += sentences.of_guessing(evaluation, split)
    texts += [] if same_weights(evaluation) else sentences.of_knowledge(evaluation)
    texts += sentences.of_refutation(evaluation)
    texts += sentences.of_correction(evaluation)
    headline = _headline(evaluation, split, findings[split]) + _elsewhere(evaluation, findings)
    return Conclusion(findings[split].verdict, headline, tuple(texts), findings)


def _headline(evaluation: Evaluation, split: str, found: Finding) -> str:
    path = f"the {evaluation.path.builder or 'given'} path"
    lost = _lost_ends(evaluation, split)
    if lost:
        return f"Not connected by {path}: the {split} loss of {' and of '.join(lost)} itself is not a finite number."
    if found.verdict == "barrier":
        proven = "" if evaluation.bound[split] is None else f"; it is proven that the loss {_bound(evaluation, split)}"
        return f"Not connected by {path}: {rises(split, found)}{proven}."
    if same_weights(evaluation):
        once = "" if evaluation.path.alignment is None else "once B is aligned, "
        return f"Connected: {once}both ends have the same weights."
    if found.verdict == "undecided":
        return _undecided(evaluation, split, found, path)
    doubt = _doubt(evaluation, split)
    if found.verdict == "proven":
        unknown = found.error is not None and found.error.state == "undecided"
        rest = f"; too few samples to tell whether the {error_in(found.unit)} rises" if unknown else ""
        bound = _bound(evaluation, split) + in_perplexity(found)
        return f"Connected, and proven{doubt}: along {path} the {split} loss {bound}{rest}."
    return f"Connected as far as measured{doubt}: along {path} {stays(split, found)}{_bend(evaluation, split, found)}."


def _undecided(evaluation: Evaluation, split: str, found: Finding, path: str) -> str:
    if found.loss.t is None:
        return f"Undecided: nothing was measured between the ends of {path}; measure more points."
    counts = evaluation.task.get("samples")
    count = evaluation.curves[split][0].samples or (counts.get(split) if isinstance(counts, Mapping) else None)
    batches = of_batches(evaluation.task)
    noun = samples_in(found.unit, count, batches=batches)
    samples = " ".join(filter(None, ("" if count is None else str(count), split, noun)))
    return f"Too few {'batches' if batches else 'samples'} to tell {unclear(found, path, samples)}"


def _lost_ends(evaluation: Evaluation, split: str) -> list[str]:
    """Return those of A and B whose own loss is not a finite number."""
    ends = evaluation.barriers[split].loss_ends
    return [name for name, loss in zip("AB", ends, strict=True) if not math.isfinite(loss)]


def _bound(evaluation: Evaluation, split: str) -> str:
    return sentences.bounded(evaluation, split)


def _doubt(evaluation: Evaluation, split: str) -> str:
    """Say, where it is so, that the ends are worth little, so that their connection is."""
    guess = evaluation.guessing.get(split)
    if guess is None:
        return ""
    if guess.is_perfect:
        return ", but all targets are the same"
    useless = sentences.worthless(guess, evaluation.curves[split])
    if len(useless) == 2:
        return ", but neither end is shown to be better than guessing"
    return f", but {useless[0]} is not shown to be better than guessing" if useless else ""


def _bend(evaluation: Evaluation, split: str, found: Finding) -> str:
    """Say where the loss, nowhere above the worse end's, is clearly above the straight line between both ends'."""
    figures = evaluation.barriers[split]
    if figures.barrier_entezari - figures.barrier_interval <= max(found.loss.counts_from, found.loss.most):
        return ""
    height = with_interval(figures.barrier_entezari, figures.barrier_interval, "loss")
    return f"; the loss is up to {height} above the straight line between the ends' losses"


def _elsewhere(evaluation: Evaluation, findings: Mapping[str, Finding]) -> str:
    """Say what the other splits show where they tell another story than the first."""
    (first, main), *others = findings.items()
    texts = []
    for split, found in others:
        if (found.verdict == "barrier") == (main.verdict == "barrier") or found.verdict == "undecided":
            continue
        lost = _lost_ends(evaluation, split)
        story = f"the {split} loss of {' and of '.join(lost)} itself is not a finite number"
        if not lost:
            story = rises(split, found) if found.verdict == "barrier" else stays(split, found)
        texts.append(f" Other than on {first}, {story}.")
    return "".join(texts)
