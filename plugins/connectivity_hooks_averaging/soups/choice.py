"""Which checkpoints are averaged: all that are connected, or those of them that make the mean no worse (greedy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from connectivity_hooks.connecting import evaluate
from connectivity_hooks.evaluation import Measuring
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.scores import scores_of
from connectivity_hooks_averaging.soups.cliques import mutually_connected
from connectivity_hooks_averaging.soups.running import Running

Matrix = list[list[float]]
"""The barrier of every two, symmetric, 0 on the diagonal."""


@dataclass(frozen=True)
class LeftOut:
    """A checkpoint that is not averaged.

    Attributes:
        name: Its name.
        why: In words, with the figure that decided.
        barrier: That of the line that decided; None where another figure did.
        to: Where that line begins: a member, or the mean of some.
    """

    name: str
    why: str
    barrier: float | None = None
    to: str | None = None


@dataclass(frozen=True)
class Joining:
    """The line from the running mean to the checkpoint that was to be taken in next."""

    name: str
    members: tuple[str, ...]
    barrier: float
    taken: bool


@dataclass
class Choice:
    """What is averaged so far.

    Attributes:
        running: The mean.
        left_out: What is not in it, and why.
        joinings: Every line from the running mean that was measured.
        held_out: Loss of the mean on the held-out part, where there is one.
    """

    running: Running
    left_out: list[LeftOut] = field(default_factory=list)
    joinings: list[Joining] = field(default_factory=list)
    held_out: float | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Names of what is averaged."""
        return self.running.soup.members


@dataclass(frozen=True)
class Candidates:
    """What there is to choose from.

    Attributes:
        names: Of the checkpoints.
        weights: Reads the weights of one.
        shares: Weight of each in the mean.
        barriers: Of every two.
        threshold: The largest barrier that connects.
        begin: Makes the running mean of one.
        task: Where barriers are measured: the training split alone.
        how: How they are measured.
        progress: Shows the work.
    """

    names: Sequence[str]
    weights: Callable[[int], Weights]
    shares: Sequence[float]
    barriers: Matrix
    threshold: float
    begin: Callable[[int], Running]
    task: Task
    how: Measuring
    progress: Progress


def uniform(candidates: Candidates) -> Choice:
    """Average the largest set in which every two are connected, and each with the mean of those before it."""
    group = mutually_connected(candidates.barriers, candidates.threshold)
    choice = Choice(candidates.begin(group[0]), _others(candidates, group))
    for number in candidates.progress.track(group[1:], "measuring lines from the running mean", len(group) - 1):
        _join(candidates, choice, number)
    return choice


def greedy(candidates: Candidates, held_out: Task, losses: Sequence[float]) -> Choice:
    """Average what makes the mean no worse on samples held out, best first (Wortsman et al. 2022, recipe 1).

    Only the largest set in which every two are connected is tried, and only what has no barrier to the mean.

    Args:
        candidates: The checkpoints.
        held_out: The task on the held-out part.
        losses: Of each checkpoint on it.
    """
    group = mutually_connected(candidates.barriers, candidates.threshold)
    order = sorted(group, key=lambda number: losses[number])
    choice = Choice(candidates.begin(order[0]), _others(candidates, group), held_out=losses[order[0]])
    for number in candidates.progress.track(order[1:], "trying one after the other", len(order) - 1):
        _join(candidates, choice, number, held_out)
    return choice


def _others(candidates: Candidates, group: Sequence[int]) -> list[LeftOut]:
    others = [number for number in range(len(candidates.names)) if number not in group]
    return [_not_connected(candidates, number, group) for number in others]


def _not_connected(candidates: Candidates, number: int, members: Sequence[int]) -> LeftOut:
    """Say which barrier keeps a checkpoint out."""
    worst = max(members, key=lambda member: candidates.barriers[number][member])
    name, to, barrier = candidates.names[number], candidates.names[worst], candidates.barriers[number][worst]
    why = f"the line from {to} to {name} has a barrier of {barrier:.4g}, above {candidates.threshold:.4g}"
    return LeftOut(name, why, barrier, to)


def _join(candidates: Candidates, choice: Choice, number: int, held_out: Task | None = None) -> None:
    """Take a checkpoint into the mean where the line to it has no barrier, else say why not."""
    name, weights = candidates.names[number], candidates.weights(number)
    how = candidates.how
    if len(choice.members) == 1:  # measured among the pairs
        barrier = candidates.barriers[number][candidates.names.index(choice.members[0])]
    else:
        line = choice.running.line_to(weights)
        evaluation = evaluate(line, candidates.task, points=how.points, refine=how.refine, correct=how.correct)
        barrier = evaluation.barriers[candidates.task.train.name].barrier_entezari
    out = None if barrier <= candidates.threshold else _far(choice.members, name, barrier, candidates.threshold)
    if out is None:
        out = _taken_in(choice, name, weights, candidates.shares[number], held_out, choice.members, barrier)
    else:
        choice.joinings.append(Joining(name, choice.members, barrier, taken=False))
    if out is not None:
        choice.left_out.append(out)


def _taken_in(
    choice: Choice,
    name: str,
    weights: Weights,
    share: float,
    held_out: Task | None,
    before: tuple[str, ...],
    barrier: float,
) -> LeftOut | None:
    """Take a checkpoint into the mean unless that is worse on the held-out part; then say so."""
    more = choice.running.joined_by(name, weights, share)
    if held_out is not None:
        (scores,) = scores_of([lambda: more.weights], held_out)
        loss, known = scores[held_out.train.name].loss, choice.held_out or 0.0
        if not loss <= known:
            choice.joinings.append(Joining(name, before, barrier, taken=False))
            why = f"with {name} the mean's loss on the held-out part is {loss:.4g}, without it {known:.4g}"
            return LeftOut(name, why)
        choice.held_out = loss
    choice.joinings.append(Joining(name, before, barrier, taken=True))
    choice.running = more
    return None


def _far(members: tuple[str, ...], name: str, barrier: float, threshold: float) -> LeftOut:
    to = members[0] if len(members) == 1 else f"the mean of {', '.join(members)}"
    why = f"the line from {to} to {name} has a barrier of {barrier:.4g}, above {threshold:.4g}"
    return LeftOut(name, why, barrier, to)
