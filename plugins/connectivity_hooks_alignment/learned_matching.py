"""Alignment by gradient descent on what may be done to the neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_learning.learned import Descent, Learned, learn
from connectivity_hooks_alignment.matching.closed_forms import Candidate, Tried, add_closed_forms
from connectivity_hooks_alignment.matching.middle import measured_part, middle_loss
from connectivity_hooks_alignment.matching.said import done
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Options:
    """Options of `LearnedMatching`."""

    budget: str = option(
        "300steps", "How long: 300steps, 3epochs, 30s or 5m; only steps and epochs give the same result again."
    )
    batch_size: int = option(64, "Samples of a step.", ge=1)
    rate: float = option(1e-2, "Largest learning rate of Adam; it falls to zero as half a cosine.", gt=0, le=10)

    def __post_init__(self) -> None:
        """Refuse a budget that is none before anything is computed."""
        Budget.parse(self.budget, "budget")


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
        tried = Tried(network.symmetries, a, b, task, self.seed, self.progress)
        add_closed_forms(tried)
        plain, start, before = tried.candidates[0], tried.best, tried.weights()
        learned = self._learned(tried, start)
        tried.add("learned", lambda: learned.elements)
        if tried.best is start:
            self.progress.say(f"learned matching: the loss half way did not fall; {start.name} is kept")
        weights = tried.weights()
        found = {
            "start": start.name, "kept": tried.best.name, "steps": learned.steps, "losses": learned.losses,
            "stopped": learned.stopped, "samples": tried.samples,
            "middle": {
                "train": _numbers({"plain": plain.middle, "before": start.middle, "after": tried.best.middle}),
                **_on_test(a, {"plain": b, "before": before, "after": weights}, task, self.seed),
            },
        }  # fmt: skip
        what = done(network.symmetries, tried.best.elements)
        return Alignment(weights, {**network.record(), **found, **what, "failed": tried.failed})

    def _learned(self, tried: Tried, start: Candidate) -> Learned:
        options = self.options
        return learn(
            tried.symmetries, tried.a, tried.b, tried.task, start.elements, budget=Budget.parse(options.budget),
            seed=self.seed, progress=self.progress, work=self.work, descent=Descent(options.batch_size, options.rate),
        )  # fmt: skip


def _on_test(a: Weights, ends: dict[str, Weights], task: Task, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the loss half way on the test split, with each of some second ends; nothing where there is no test."""
    if task.test is None:
        return {}
    part = measured_part(task.test, seed)
    return {part.name: _numbers({name: middle_loss(a, end, task, part) for name, end in ends.items()})}


def _numbers(losses: dict[str, float]) -> dict[str, float | None]:
    return {name: loss if math.isfinite(loss) else None for name, loss in losses.items()}
