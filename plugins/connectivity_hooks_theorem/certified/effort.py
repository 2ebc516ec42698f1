"""How much work a certified path is worth."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks_theorem.certified.training import Schedule


@dataclass(frozen=True)
class Effort:
    """What is tried for a sub-network.

    Attributes:
        hidden: Layers trained where the rest can pass outputs on.
        schedule: One round of training.
        rounds: Rounds at most, each beginning where the one before ended.
        held_out: A probe is taken when it classifies at most this share of samples it has not seen wrongly; None takes
            every probe that reaches the target.
    """

    hidden: int
    schedule: Schedule
    rounds: int
    held_out: float | None


EFFORTS = {
    "quick": Effort(hidden=1, schedule=Schedule(12), rounds=1, held_out=None),
    "normal": Effort(hidden=2, schedule=Schedule(20), rounds=3, held_out=0.005),
    "thorough": Effort(hidden=3, schedule=Schedule(40), rounds=5, held_out=0.0025),
}
