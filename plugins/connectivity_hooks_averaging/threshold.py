"""From which barrier on two checkpoints are not connected."""

from __future__ import annotations

import math
from collections.abc import Sequence

from connectivity_hooks.errors import UsageError
from connectivity_hooks.tasks import Task, guess

_OF_GUESSING = 0.02
_OF_LOSS = 0.05


def threshold_of(given: float | None, task: Task, losses: Sequence[float]) -> float:
    """Return the barrier up to which two checkpoints count as connected.

    Given or not, it is a difference of training losses. Where it is not given: 2 % of what the best constant answer
    costs, or 5 % of the lowest loss of a checkpoint, whichever is more; these are the shares from which on a rise
    counts in every verdict of ours.

    Raises:
        UsageError: It is negative, or not a number.
    """
    if given is not None:
        if not given >= 0:
            raise UsageError(f"threshold: expected a loss of 0 or more, found {given}")
        return given
    own = _OF_LOSS * min((abs(loss) for loss in losses if math.isfinite(loss)), default=0.0)
    answer = guess(task.loss, task.train)
    return max(own, _OF_GUESSING * answer.loss) if answer else own
