"""The running mean: what has been taken in so far, and the line from it to the next checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from connectivity_hooks.contracts import Correction
from connectivity_hooks.evaluation import corrected_sample, sampled
from connectivity_hooks.model import Weights, same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.soup import Soup


@dataclass(frozen=True)
class Running:
    """A mean of checkpoints, corrected where asked for.

    Without a correction it is `Soup.mean`; what a module derives from its weights, the vectors of spectral norms, is
    computed anew. With one, each checkpoint is taken in at its share of the line from the mean before it, where the
    correction is applied: REPAIR then gives each channel the mean of all members' statistics, and batch norms are
    measured under the weights of the mean.

    Attributes:
        soup: The plain mean.
        weights: The mean as it is measured, to be read only.
        task: Gives the correction its data.
        correction: What is done to the mean.
    """

    soup: Soup
    weights: Weights
    task: Task
    correction: Correction | None

    @staticmethod
    def of(
        name: str, weights: Weights, share: float, counters: set[str], task: Task, correction: Correction | None
    ) -> Running:
        """Begin with one checkpoint."""
        soup = Soup(counters)
        soup.add(name, weights, share)
        return Running(soup, weights, task, correction)

    def line_to(self, weights: Weights) -> Path:
        """Return the straight line from the mean to another checkpoint."""
        return Path.from_points([self.weights, weights])

    def joined_by(self, name: str, weights: Weights, share: float) -> Running:
        """Return the mean with one more checkpoint in it."""
        soup = self.soup.joined_by(name, weights, share)
        line, t = self.line_to(weights), share / soup.total
        if self.correction is None:
            return replace(self, soup=soup, weights=_derived(soup.mean(), line, t))
        whole = {key: tensor for key, tensor in soup.mean().items() if not tensor.is_floating_point()}
        corrected = corrected_sample(line, t, self.task, self.correction)
        return replace(self, soup=soup, weights={**corrected, **whole})


def _derived(mean: Weights, line: Path, t: float) -> Weights:
    """Return the mean with those tensors that are computed from others as they are on the line."""
    plain, computed = line(t), sampled(line, t)
    return {key: computed[key] if not same(computed[key], plain[key]) else tensor for key, tensor in mean.items()}
