"""The answer in words: from which step on is the training stable?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from connectivity_hooks.evaluation.conclusion import ERROR_THRESHOLD, LOSS_THRESHOLD
from connectivity_hooks.instability.spread import Instability

POINTS = f"{100 * ERROR_THRESHOLD:g} points"


@dataclass(frozen=True)
class StabilityConclusion:
    """A verdict and the sentences that carry it.

    Attributes:
        verdict: ``stable`` or ``unstable``.
        since: The least k from which on every k is stable; None if the last is not.
        headline: One short sentence.
        sentences: What was measured on which split, with which uncertainty.
    """

    verdict: Literal["stable", "unstable"]
    since: int | None
    headline: str
    sentences: tuple[str, ...]


def conclude(measured: Mapping[str, Sequence[Instability]]) -> StabilityConclusion:
    """Say from which k on copies stay connected on the test split, or on the training split if there is no other.

    Stable is, as in Frankle et al. 2020, an error barrier below 2 points, mean over the pairs. Where the loss has no
    errors: a loss barrier of less than 5 % of the copies' own loss, or within its interval of none.
    """
    split = "test" if "test" in measured else next(iter(measured))
    since = stable_since(measured[split])
    sentences = [_sentence(name, at) for name, at in measured.items()]
    sentences += [text for name, at in measured.items() for text in _doubts(name, at)]
    headline = _headline(split, measured[split], since)
    return StabilityConclusion("unstable" if since is None else "stable", since, headline, tuple(sentences))


def stable_since(measured: Sequence[Instability]) -> int | None:
    """Return the least k from which on every k is stable."""
    since = None
    for at in reversed(measured):
        if not is_stable(at):
            break
        since = at.step
    return since


def is_stable(at: Instability) -> bool:
    """Say whether the barrier is low: below 2 points of error, or 5 % of the loss."""
    if not math.isfinite(at.loss.mean):
        return False
    if at.error is not None:
        return at.error.mean < ERROR_THRESHOLD
    return at.loss.mean <= max(at.loss.interval, LOSS_THRESHOLD * at.loss_ends)


def _headline(split: str, measured: Sequence[Instability], since: int | None) -> str:
    last = measured[-1]
    if since is None:
        barrier = f"the {split} {_kind(last)} barrier is {_figure(last)}"
        return f"Not stable from any k on: at the last, k = {last.step}, {barrier}."
    from_where = "Stable from the start on" if since == 0 else f"Stable from k = {since} on"
    limit = POINTS if last.error is not None else f"{100 * LOSS_THRESHOLD:g} % of the copies' own loss"
    return f"{from_where}: the {split} {_kind(last)} barrier stays below {limit}."


def _kind(at: Instability) -> str:
    return "loss" if at.error is None else "error"


def _figure(at: Instability) -> str:
    if at.error is None:
        return f"{at.loss.mean:.3g} ± {at.loss.interval:.2g}"
    return f"{100 * at.error.mean:.2f} ± {100 * at.error.interval:.2f} points"


def _sentence(split: str, measured: Sequence[Instability]) -> str:
    first, last = measured[0], measured[-1]
    highest = max(measured, key=lambda at: at.loss.mean if at.error is None else at.error.mean)
    places = dict.fromkeys((first.step, highest.step, last.step))
    figures = ", ".join(f"{_figure(at)} at k = {at.step}" for at in measured if at.step in places)
    since = stable_since(measured)
    verdict = "not stable at the last k" if since is None else f"stable from k = {since} on"
    text = f"On {split} the {_kind(first)} barrier is {figures}"
    if len(places) == 3:
        text += f", highest of {len(measured)} at k = {highest.step}"
    return f"{text}; {verdict}, from {_pairs(measured)} each."


def _pairs(measured: Sequence[Instability]) -> str:
    counts = {at.pairs for at in measured}
    low, high = min(counts), max(counts)
    if low == high == 1:
        return "1 pair of copies"
    return f"{low} pairs of copies" if low == high else f"{low} to {high} pairs of copies"


def _doubts(split: str, measured: Sequence[Instability]) -> list[str]:
    """Name the k that the interval, or a single pair, leaves open."""
    errors = [(at.step, at.error) for at in measured if at.error is not None]
    near = [step for step, e in errors if abs(e.mean - ERROR_THRESHOLD) <= e.interval]
    split_up = [step for step, e in errors if e.least < ERROR_THRESHOLD <= e.most]
    texts = []
    if near:
        texts.append(f"On {split} the 95 % interval holds {POINTS} at k = {_list(near)}: no verdict on which side.")
    if split_up:
        texts.append(f"On {split} some pairs lie below {POINTS} and some above at k = {_list(split_up)}.")
    return texts


def _list(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))
