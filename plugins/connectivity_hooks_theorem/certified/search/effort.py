"""How much work a certified path is worth."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks_theorem.certified.search.training_schedule import TrainingSchedule


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
    schedule: TrainingSchedule
    warm: int
    rounds: int
    refit: float
    held_out: float
    good_enough: float

    def schedules(self, *, warm: bool) -> list[TrainingSchedule]:
        """Return the rounds of training; the first in two parts where it begins with a sub-network found before."""
        first = [self.warm, self.schedule.epochs - self.warm] if warm else [self.schedule.epochs]
        return [*map(self.schedule.shortened, first), *[self.schedule] * (self.rounds - 1)]


# The figures are those of docs/benchmarks.md. Where none is named a number was chosen by hand, for quick laxer and for
# thorough stricter than for normal; no sweep is on record.
QUICK = Effort(
    hidden=2,
    schedule=TrainingSchedule(10),  # MLPs of 10×245: a bound of 3.7e-4 in 12 s, where normal takes 21 s
    warm=5,
    rounds=1,  # 15 s were wanted
    refit=0.01,
    held_out=0.02,
    good_enough=4e-4,  # a bound of 5e-4 was wanted of this effort
)
NORMAL = Effort(
    hidden=2,  # two trained layers, and else four, bring half of an MLP's first features to the ends' own loss
    schedule=TrainingSchedule(20),  # twice the epochs brought a VGG with batch norm no clear gain
    warm=8,  # instead of 20: a path of a ResNet in 235 s instead of 434 s, for 0.5 points of test error
    rounds=3,
    refit=0.003,  # from 0.1 % wrong a fit costs nothing, from 1.4 % it costs 2.5 points of test error
    held_out=0.005,  # half a point of test error: 0.8 points were allowed to a path of MLPs of 10×245, 0.3 are lost
    good_enough=0.0,
)
THOROUGH = Effort(
    hidden=3,
    schedule=TrainingSchedule(40),
    warm=20,
    rounds=5,
    refit=0.001,  # what costs nothing at all, see above
    held_out=0.0025,
    good_enough=0.0,
)

EFFORTS = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}
