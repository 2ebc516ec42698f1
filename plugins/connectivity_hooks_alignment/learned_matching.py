"""Alignment by gradient descent on what may be done to the neurons."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.structure import Elements, Symmetries, transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.learned import Descent, Learned, learn
from connectivity_hooks_alignment.matching.middle import measured_part, middle_loss
from connectivity_hooks_alignment.matching.weights import match_weights
from connectivity_hooks_alignment.network import network_of

_FLAG = "--learned-matching.budget"


@dataclass(frozen=True)
class Options:
    """Options of `LearnedMatching`."""

    budget: str = option(
        "300steps", "How long: 300steps, 3epochs, 30s or 5m; only steps and epochs give the same result again."
    )
    batch_size: int = option(64, "Samples of a step.", ge=1)
    rate: float = option(5e-3, "Largest learning rate of Adam; it falls to zero as half a cosine.", gt=0)

    def __post_init__(self) -> None:
        """Refuse a budget that is none before anything is computed."""
        Budget.parse(self.budget, _FLAG)


class LearnedMatching(Aligner):
    """Elements of all groups at once, trained for a low loss around the middle of the straight line.

    It begins with the closed form that gives the lowest loss at the middle, and keeps that where learning ends higher,
    on the same training samples. Each step is a training step on the line: augmented training batches, evaluation mode,
    running statistics interpolated as weights are. Killed at any moment, the same command goes on where it was.
    """

    name = "learned-matching"
    Options = Options

    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Descend from the best closed form."""
        network = network_of(task, a, b)
        start = self._start(network.symmetries, a, b)
        learned = self._learned(network.symmetries, a, b, task, start)
        ends = {"before": transformed(network.symmetries, b, start, like=a)}
        ends["after"] = transformed(network.symmetries, b, learned.elements, like=a)
        middles = _middles(a, ends, task, self.seed)
        kept = "after" if middles["train"]["after"] < middles["train"]["before"] else "before"
        if kept == "before":
            self.progress.say("learned matching: the loss at the middle did not fall; the closed form is kept")
        record = {"steps": learned.steps, "losses": learned.losses, "stopped": learned.stopped}
        return Alignment(ends[kept], {**network.record(), **record, "middle": middles, "kept": kept})

    def _start(self, symmetries: Symmetries, a: Weights, b: Weights) -> Elements:
        return match_weights(symmetries, a, b, seed=self.seed, progress=self.progress).elements

    def _learned(self, symmetries: Symmetries, a: Weights, b: Weights, task: Task, start: Elements) -> Learned:
        options = self.options
        return learn(
            symmetries, a, b, task, start, budget=Budget.parse(options.budget, _FLAG), seed=self.seed,
            progress=self.progress, work=self.work, descent=Descent(options.batch_size, options.rate),
        )  # fmt: skip


def _middles(a: Weights, ends: dict[str, Weights], task: Task, seed: int) -> dict[str, dict[str, float]]:
    """Return the loss at the middle by split, with each of some second ends."""
    return {
        part.name: {name: middle_loss(a, end, task, part) for name, end in ends.items()}
        for part in (measured_part(split, seed) for split in task.splits())
    }
