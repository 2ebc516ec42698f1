"""The answer in words: from which step on is the training stable?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from connectivity_hooks.evaluation import climb
from connectivity_hooks.evaluation.climb import ERROR_THRESHOLD, GUESS_THRESHOLD, LOSS_THRESHOLD, state_of
from connectivity_hooks.evaluation.phrases import Figure, with_interval
from connectivity_hooks.stability.barrier_of_pairs import Instability, Spread
from connectivity_hooks.tasks.guessing import Guess

POINTS = f"{100 * ERROR_THRESHOLD:g} points"

State = Literal["stable", "unstable", "undecided"]
_STATES: Mapping[climb.State, State] = {"low": "stable", "rises": "unstable", "undecided": "undecided"}

Guessing = Mapping[str, Guess | None]


@dataclass(frozen=True)
class StabilityConclusion:
    """A verdict and the sentences that carry it.

    Attributes:
        verdict: ``stable`` from some k on, ``unstable`` at the last k, or ``undecided``: too few samples to tell.
        since: The least k from which on every k is stable; None if the last is not, or not known to be.
        headline: What the verdict is about, in a sentence or two.
        sentences: What was measured on which split, with which uncertainty.
    """

    verdict: State
    since: int | None
    headline: str
    sentences: tuple[str, ...]


def conclude(measured: Mapping[str, Sequence[Instability]], guessing: Guessing | None = None) -> StabilityConclusion:
    """Say from which k on copies stay connected on the test split, or on the training split if there is no other.

    Stable is, as in Frankle et al. 2020, an error barrier below 2 points, mean over the pairs, its 95 % interval
    included. The loss barrier is told beside it; where the loss has no errors it decides, see `loss_state`.

    Args:
        measured: For each split the barriers in order of k.
        guessing: For each split what the best constant answer scores, where that is known.
    """
    guessing = guessing or {}
    split = "test" if "test" in measured else next(iter(measured))
    states = [state(at, guessing.get(split)) for at in measured[split]]
    since = stable_since(measured[split], guessing.get(split))
    texts = [text for name, each in measured.items() for text in _sentences(name, each, guessing.get(name))]
    texts += [text for name, each in measured.items() for text in _doubts(name, each, guessing.get(name))]
    headline = _headline(split, measured[split], since, guessing.get(split))
    return StabilityConclusion(states[-1], since, headline, tuple(texts))


def stable_since(measured: Sequence[Instability], guess: Guess | None = None) -> int | None:
    """Return the least k from which on every k is known to be stable."""
    since = None
    for at in reversed(measured):
        if state(at, guess) != "stable":
            break
        since = at.step
    return since


def state(at: Instability, guess: Guess | None = None) -> State:
    """Say whether the barrier is low: below 2 points of error, or as `loss_state` has it."""
    if not math.isfinite(at.loss.mean) or at.error is None:
        return loss_state(at, guess)
    return _side(at.error, ERROR_THRESHOLD)


def loss_state(at: Instability, guess: Guess | None = None) -> State:
    """Say whether the loss barrier is low: below 5 % of the copies' own loss or 2 % of guessing's, the larger."""
    return _side(at.loss, _loss_limit(at, guess)) if math.isfinite(at.loss.mean) else "unstable"


def _loss_limit(at: Instability, guess: Guess | None) -> float:
    own = LOSS_THRESHOLD * abs(at.loss_ends)
    return max(own, GUESS_THRESHOLD * guess.loss) if guess else own


def _side(barrier: Spread, threshold: float) -> State:
    limits = barrier.mean - barrier.interval, barrier.mean + barrier.interval
    return _STATES[state_of(barrier.mean, *limits, threshold)]


def _headline(split: str, measured: Sequence[Instability], since: int | None, guess: Guess | None) -> str:
    last = measured[-1]
    if since is not None:
        from_where = "Stable from the start on" if since == 0 else f"Stable from k = {since} on"
        stays = f"the {split} {_kind(last)} barrier stays below {_limit(last, guess)}"
        return f"{from_where}: {stays}.{_loss_too(measured, since, guess)}"
    if not math.isfinite(last.loss.mean):
        at = f"at the last, k = {last.step}, the {split} loss is not a finite number on the path"
        return f"Not stable from any k on: {at}."
    barrier = f"at the last, k = {last.step}, the {split} {_kind(last)} barrier is {_figure(last)}"
    if state(last, guess) == "unstable":
        return f"Not stable from any k on: {barrier}."
    return f"Too few samples to tell whether it is stable from any k on: {barrier}, and {_limit(last, guess)} count."


def _limit(at: Instability, guess: Guess | None) -> str:
    return POINTS if at.error is not None else f"{_loss_limit(at, guess):.2g}"


def _loss_too(measured: Sequence[Instability], since: int, guess: Guess | None) -> str:
    """Say where the loss tells another story than the error."""
    high = [at for at in measured if at.step >= since and at.error is not None and loss_state(at, guess) == "unstable"]
    if not high:
        return ""
    worst = max(high, key=lambda at: at.loss.mean)
    return f" The loss barrier is not low: {_figure(worst, 'loss')} at k = {worst.step}."


def _kind(at: Instability) -> Figure:
    return "loss" if at.error is None else "error"


def _figure(at: Instability, of: Figure | None = None) -> str:
    spread = at.loss if at.error is None or of == "loss" else at.error
    return with_interval(spread.mean, spread.interval, of or _kind(at))


def _sentences(split: str, measured: Sequence[Instability], guess: Guess | None) -> list[str]:
    """Tell the barrier that decides, then the loss's where it is another."""
    kind = _kind(measured[0])
    since = stable_since(measured, guess)
    verdict = f"stable from k = {since} on"
    if since is None:
        verdict = "not stable at the last k" if state(measured[-1], guess) == "unstable" else "undecided at the last k"
    texts = [f"{_course(split, measured, kind)}; {verdict}, from {_pairs(measured)} each."]
    return texts if kind == "loss" else [*texts, f"{_course(split, measured, 'loss')}."]


def _course(split: str, measured: Sequence[Instability], of: Figure) -> str:
    """Tell a barrier at the first, the highest and the last k."""
    first, last = measured[0], measured[-1]
    highest = max(measured, key=lambda at: at.loss.mean if of == "loss" or at.error is None else at.error.mean)
    places = dict.fromkeys((first.step, highest.step, last.step))
    figures = ", ".join(f"{_figure(at, of)} at k = {at.step}" for at in measured if at.step in places)
    text = f"On {split} the {of} barrier is {figures}"
    return f"{text}, highest of {len(measured)} at k = {highest.step}" if len(places) == 3 else text


def _pairs(measured: Sequence[Instability]) -> str:
    counts = {at.pairs for at in measured}
    low, high = min(counts), max(counts)
    if low == high == 1:
        return "1 pair of copies"
    return f"{low} pairs of copies" if low == high else f"{low} to {high} pairs of copies"


def _doubts(split: str, measured: Sequence[Instability], guess: Guess | None) -> list[str]:
    """Name the k that the interval, a single pair, or the copies themselves leave open."""
    near = [at.step for at in measured if state(at, guess) == "undecided"]
    errors = [(at.step, at.error) for at in measured if at.error is not None]
    split_up = [step for step, e in errors if e.least < ERROR_THRESHOLD <= e.most]
    apart = [at for at in measured if at.error_gap is not None and at.error_gap > ERROR_THRESHOLD]
    idle = [at.step for at in measured if guess is not None and _did_not_learn(at, guess)]
    limit = POINTS if errors else "what counts"
    texts = []
    if near:
        texts.append(f"On {split} the 95 % interval holds {limit} at k = {_list(near)}: no verdict on which side.")
    if split_up:
        texts.append(f"On {split} some pairs lie below {POINTS} and some above at k = {_list(split_up)}.")
    if apart:
        texts.append(
            f"On {split} the error barrier, which counts from the copies' mean, holds {_gaps(apart)} of their own "
            "difference."
        )
    if idle:
        texts.append(f"On {split} the copies are hardly better than guessing at k = {_list(idle)}.")
    return texts


def _gaps(apart: Sequence[Instability]) -> str:
    return ", ".join(f"{100 * (at.error_gap or 0.0):.2f} points at k = {at.step}" for at in apart)


def _did_not_learn(at: Instability, guess: Guess) -> bool:
    """Say whether the copies' mean loss, and error where there is one, are as good as a constant answer's."""
    if at.error_ends is not None and guess.error is not None and at.error_ends < guess.error - ERROR_THRESHOLD:
        return False
    return not guess.is_perfect and at.loss_ends >= (1 - GUESS_THRESHOLD) * guess.loss


def _list(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))
