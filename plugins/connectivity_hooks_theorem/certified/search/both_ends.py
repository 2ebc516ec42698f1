"""The search for both ends' sub-networks: side by side where both ends' features fit, else one end after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from connectivity_hooks.parallel import most
from connectivity_hooks.progress import Progress
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.finder import Finder
from connectivity_hooks_theorem.certified.search.parallel import in_parallel, in_turn
from connectivity_hooks_theorem.certified.search.setting import Setting

_BYTES = 4 * 2 * 2
"""Of a number held: float32, at two cuts (a cut's features and the copy that a probe overwrites), for two ends."""


def find_all(finders: Sequence[Finder], progress: Progress) -> list[list[Subnetwork]]:
    """Return the sub-networks that each finder finds, from the last cut to the first."""
    found: list[list[Subnetwork]] = [[] for _ in finders]
    if finders:
        works = [finder.find for finder in finders]
        items = in_parallel(works) if _fit_together(finders[0].setting) else in_turn(works)
        total = len(works) * (len(finders[0].network.cuts) - 1)
        for number, subnetwork in progress.track(items, "sub-networks", total):
            found[number].append(subnetwork)
    return [sorted(each, key=lambda one: -one.cut) for each in found]


def _fit_together(setting: Setting) -> bool:
    """Say whether both ends' features of two layers fit, on a processor that has a core for each end.

    Augmentation draws from one generator, so that one end has to follow the other.
    """
    network, task = setting.network, setting.task
    shapes = {step.name: step.shape for step in network.program.steps}
    later = [cut.values for cut in network.cuts[1:]]
    widest = max(sum(math.prod(shapes[value]) for value in values) for values in later)
    held = _BYTES * len(task.train) * widest
    alone = task.device.type != "cpu" or task.augment is not None
    return not alone and most() > 1 and held <= setting.memory
