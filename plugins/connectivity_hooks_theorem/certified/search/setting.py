"""What all sub-networks of a path have in common."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.tasks import Task
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.search.effort import Effort


@dataclass(frozen=True)
class Setting:
    """What all sub-networks of a path have in common, handed from room to room as one.

    Attributes:
        network: The network.
        task: The data.
        effort: What is tried for a sub-network.
        seed: Seed of every random choice.
        ridge: Weight of a probe's squared norm.
        memory: Bytes of features held at a time; 0: none, they are computed for each batch.
    """

    network: Network
    task: Task
    effort: Effort
    seed: int
    ridge: float = 0.0
    memory: int = 0
