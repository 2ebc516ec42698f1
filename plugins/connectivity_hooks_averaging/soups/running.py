"""The running mean: what has been taken in so far, and the line from it to the next checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from connectivity_hooks.contracts import Correction
from connectivity_hooks.evaluation import ModelOnPath, corrected_sample, sampled
from connectivity_hooks.model import Weights, same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.soups.soup import Soup


@dataclass(frozen=True)
class Running:
    """A mean of checkpoints, corrected where asked for.

    Without a correction it is `Soup.mean`; what a module derives from its weights, the vectors of spectral norms, is
    computed anew. With one, each checkpoint is taken in at its share of the line from the mean before it, where the
    correction is applied: REPAIR then gives each channel the mean of all members' statistics, and batch norms are
    measured under the weights of the mean. What the correction does not change is that of `Soup.mean`.

    Attributes:
        soup: The plain mean.
        weights: The mean as it is measured, to be read only.
        task: Gives the correction its data.
        correction: What is done to the mean.
        changed: Names of the tensors that it has changed; the others are those of the plain mean.
    """

    soup: Soup
    weights: Weights
    task: Task
    correction: Correction | None
    changed: frozenset[str] = frozenset()

    @staticmethod
    def of(name: str, weights: Weights, share: float, soup: Soup, task: Task, correction: Correction | None) -> Running:
        """Begin a soup with one checkpoint."""
        soup.add(name, weights, share)
        return Running(soup, weights, task, correction)

    def line_to(self, weights: Weights) -> Path:
        """Return the straight line from the mean to another checkpoint; of products, from the mean of their factors."""
        return Path.from_points([self.soup.plain() if self.soup.has_products else self.weights, weights])

    def joined_by(self, name: str, weights: Weights, share: float) -> Running:
        """Return the mean with one more checkpoint in it."""
        soup = self.soup.joined_by(name, weights, share)
        line, t = self.line_to(weights), share / soup.total
        if self.correction is None:
            return replace(self, soup=soup, weights=_derived(soup.mean(), line, t))
        corrected = corrected_sample(line, t, self.task, self.correction)
        plain = _uncorrected(line, t, self.task)
        changed = self.changed | {key for key, tensor in corrected.items() if not same(tensor, plain[key])}
        mean = _derived(soup.mean(), line, t)
        weights = {
            key: corrected[key] if key in changed and tensor.is_floating_point() else tensor
            for key, tensor in mean.items()
        }
        return replace(self, soup=soup, weights=weights, changed=changed)


def _uncorrected(line: Path, t: float, task: Task) -> Weights:
    """Return what a correction finds at `t`, computed as it is for it."""
    moving = ModelOnPath(line, task)
    moving.go(t)
    return {name: moving.weights[name].to("cpu", own.dtype, copy=True) for name, own in line.start.items()}


def _derived(mean: Weights, line: Path, t: float) -> Weights:
    """Return the mean with those tensors that are computed from others as they are on the line."""
    plain, computed = line(t), sampled(line, t)
    return {key: computed[key] if not same(computed[key], plain[key]) else tensor for key, tensor in mean.items()}
