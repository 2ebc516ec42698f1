"""Which samples of a batch are run together: those of one place, and of them those of one process."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.model import taken
from connectivity_hooks.tasks import Drawn
from connectivity_hooks_curves.training.draws import Chance, chance

_FEWEST = 2
"""Samples run together: batch norm has no statistics of one."""


@dataclass(frozen=True)
class Part:
    """Samples that are run at one place.

    Attributes:
        drawn: The samples.
        at: What their place is drawn by.
        seed: Of what the module draws while they run.
        counts: Whether they say anything of the batch; others run along, since all hold a part of the module.
    """

    drawn: Drawn
    at: Chance
    seed: int
    counts: bool = True


@dataclass(frozen=True)
class Dealt:
    """What one of several processes runs of a batch.

    Attributes:
        parts: Run one after the other; none where the batch is too small for every process.
        at: What the place of the whole batch is drawn by; None where each part has its own.
    """

    parts: list[Part]
    at: Chance | None


def dealt(
    drawn: Drawn, draws: int, seed: int, step: int, rank: int = 0, count: int = 1, *, all_run: bool = False
) -> Dealt:
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
        all_run: Whether a process without samples runs those of the first, which count there.
    """
    draws = _at_most(draws, drawn)
    if draws > 1:
        chances = [(part, chance(seed, step, part)) for part in range(rank, draws, count)]
        return Dealt([Part(_every(drawn, part, draws), at, at.seed) for part, at in chances], None)
    at, busy = chance(seed, step), _at_most(count, drawn)
    if rank >= busy and not all_run:
        return Dealt([], at)
    own = chance(seed, step, rank).seed  # each process draws its own dropout
    return Dealt([Part(drawn if busy == 1 else _every(drawn, rank % busy, busy), at, own, rank < busy)], at)


def _at_most(parts: int, drawn: Drawn) -> int:
    return max(1, min(parts, len(drawn.targets) // _FEWEST))


def _every(drawn: Drawn, first: int, stride: int) -> Drawn:
    """Return every `stride`-th sample, from the `first` on."""
    rows = slice(first, None, stride)
    return Drawn(drawn.rows[rows], taken(drawn.inputs, rows), drawn.targets[rows])
