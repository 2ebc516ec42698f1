"""How much work a certified path is worth."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks_theorem.certified.search.training import Schedule


@dataclass(frozen=True)
class Effort:
    """What is tried for a sub-network.

    Attributes:
        hidden: Layers trained where the rest can pass outputs on; twice as many where these fall short.
        schedule: One round of training.
        warm: Epochs after which a round that begins with a sub-network found before may end already.
        rounds: Rounds at most, each beginning where the one before ended.
        refit: An output layer is fitted anew after a round, the last apart, where at most this share more of samples is
            classified wrongly than by the end: to correct many errors stretches it, and costs much test error.
        held_out: A probe is taken when an affine map classifies at most this share more of samples it has not seen
            wrongly than the end does.
        good_enough: A loss no sub-network has to go below, however low the ends'.
    """

    hidden: int
    schedule: Schedule
    warm: int
    rounds: int
    refit: float
    held_out: float
    good_enough: float

    def schedules(self, *, warm: bool) -> list[Schedule]:
        """Return the rounds of training; the first in two parts where it begins with a sub-network found before."""
        first = [self.warm, self.schedule.epochs - self.warm] if warm else [self.schedule.epochs]
        return [*map(self.schedule.shortened, first), *[self.schedule] * (self.rounds - 1)]


EFFORTS = {
    "quick": Effort(hidden=2, schedule=Schedule(10), warm=5, rounds=1, refit=0.01, held_out=0.02, good_enough=4e-4),
    "normal": Effort(hidden=2, schedule=Schedule(20), warm=8, rounds=3, refit=0.003, held_out=0.005, good_enough=0.0),
    "thorough": Effort(
        hidden=3, schedule=Schedule(40), warm=20, rounds=5, refit=0.001, held_out=0.0025, good_enough=0.0
    ),
}
