"""Which samples of a batch are run together: those of one t, and of them those of one process."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.model import taken
from connectivity_hooks.tasks import Drawn
from connectivity_hooks_curves.training.draws import Chance, chance

_FEWEST = 2
"""Samples run together: batch norm has no statistics of one."""


@dataclass(frozen=True)
class Part:
    """Samples that are run at one t.

    Attributes:
        drawn: The samples.
        chance: Their t, and what is drawn while they run.
    """

    drawn: Drawn
    chance: Chance


@dataclass(frozen=True)
class Dealt:
    """What one of several processes runs of a batch.

    Attributes:
        parts: Run one after the other; none where the batch is too small for every process.
        t: Of the whole batch; None where each part has its own.
    """

    parts: list[Part]
    t: float | None


def dealt(drawn: Drawn, draws: int, seed: int, step: int, rank: int = 0, count: int = 1) -> Dealt:
    """Deal out a batch.

    With one t a batch, every process runs its share of the samples at that t. With several, the batch is dealt out to
    as many t, and these to the processes.

    Args:
        drawn: The batch.
        draws: t of a batch, where it has two samples for each.
        seed: Of the training.
        step: Of the training.
        rank: Of the process.
        count: Of processes.
    """
    draws = _at_most(draws, drawn)
    if draws > 1:
        own = range(rank, draws, count)
        return Dealt([Part(_every(drawn, part, draws), chance(seed, step, part)) for part in own], None)
    t, busy = chance(seed, step).t, _at_most(count, drawn)
    if rank >= busy:
        return Dealt([], t)
    here = Chance(t, chance(seed, step, rank).seed)  # each process draws its own dropout
    return Dealt([Part(drawn if busy == 1 else _every(drawn, rank, busy), here)], t)


def _at_most(parts: int, drawn: Drawn) -> int:
    return max(1, min(parts, len(drawn.targets) // _FEWEST))


def _every(drawn: Drawn, first: int, stride: int) -> Drawn:
    """Return every `stride`-th sample, from the `first` on."""
    rows = slice(first, None, stride)
    return Drawn(drawn.rows[rows], taken(drawn.inputs, rows), drawn.targets[rows])
