"""The two halves of a certified path: sub-networks for both ends, and the moves they allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.parallel import most
from connectivity_hooks.progress import Progress
from connectivity_hooks.tasks.task import Task
from connectivity_hooks_theorem.certified.ends import End
from connectivity_hooks_theorem.certified.half_path import HalfPath
from connectivity_hooks_theorem.certified.hub import Hub
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.effort import Effort
from connectivity_hooks_theorem.certified.search.finder import Finder
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.importance import by_importance
from connectivity_hooks_theorem.certified.search.parallel import in_turn, together


@dataclass(frozen=True)
class Halves:
    """Builds the path from each end to where both meet.

    Attributes:
        network: The network.
        task: The data.
        effort: What is tried for a sub-network.
        ridge: Weight of a probe's squared norm.
        target: Loss every sub-network should reach.
        seed: Seed of every random choice.
        subsets: One of `IMPORTANCES`, or ``random``: which neurons each end keeps.
        imitate: Whether sub-networks learn their end's outputs, or else the targets.
        hub: Where the ends meet, or None where they meet directly.
        budget: Bytes of features held at a time.
    """

    network: Network
    task: Task
    effort: Effort
    ridge: float
    target: float
    seed: int
    subsets: str
    imitate: bool
    hub: Hub | None
    budget: int

    def build(self, ends: Sequence[End], progress: Progress) -> list[HalfPath]:
        """Return the half path of each end; that of an end which is the hub itself has no segments."""
        sides = self._sides(ends)
        halves = [HalfPath(self.network, end.weights, reverse=number == 1) for number, end in enumerate(ends)]
        leaving = [number for number, end in enumerate(ends) if self.hub is None or not self.hub.equals(end.weights)]
        found: dict[int, list[Subnetwork]] = {number: [] for number in leaving}
        works = [self._finder(ends[number], number, sides).find for number in leaving]
        items = together(works) if self._small() else in_turn(works)
        total = len(works) * (len(self.network.cuts) - 1)
        for work, subnetwork in progress.track(items, "sub-networks", total):
            found[leaving[work]].append(subnetwork)
        for number in leaving:
            for subnetwork in sorted(found[number], key=lambda one: -one.cut):
                halves[number].step(subnetwork)
            if self.hub is not None:
                halves[number].step(self.hub.subnetwork)
                halves[number].arrive(self.hub.weights)
        return halves

    def _sides(self, ends: Sequence[End]) -> Sides:
        if self.hub is not None:
            return self.hub.sides
        spaces = self.network.spaces
        if self.subsets == "random":
            orders = random_orders(spaces, self.seed)
        else:
            orders = by_importance(self.network, [end.importance for end in ends], self.seed)
        return Sides.of(spaces, orders)

    def _finder(self, end: End, number: int, sides: Sides) -> Finder:
        goal = end.goal(self.target, imitate=self.imitate)
        fitter = Fitter(self.network, end.on_device, goal, self.effort, self.ridge, self.task.batch_size)
        return Finder(fitter, sides, 0 if self.hub else number, self.task, self.seed + 1000 * number, self.budget)

    def _small(self) -> bool:
        """Say whether both ends' features of two layers fit, on a processor that has a core for each end.

        Augmentation draws from one generator, so that one end has to follow the other.
        """
        shapes = {step.name: step.shape for step in self.network.program.steps}
        later = [cut.values for cut in self.network.cuts[1:]]
        widest = max(sum(math.prod(shapes[value]) for value in values) for values in later)
        held = 16 * len(self.task.train) * widest
        alone = self.task.device.type != "cpu" or self.task.augment is not None
        return not alone and most() > 1 and held <= self.budget
