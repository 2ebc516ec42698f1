"""Alignment by whichever way gives the lowest loss half way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.structure import Elements
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_learning.learned import learn
from connectivity_hooks_alignment.matching.closed_forms import Tried, add_closed_forms
from connectivity_hooks_alignment.matching.said import done
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Options:
    """Options of `Best`."""

    budget: str | None = option(
        None, "How long to learn from the best closed form: 300steps, 3epochs, 30s or 5m; none learns nothing."
    )

    def __post_init__(self) -> None:
        """Refuse a budget that is none before anything is computed."""
        if self.budget is not None:
            Budget.parse(self.budget, "budget")


class Best(Aligner):
    """Every closed form, and learning from the best of them if a budget allows; the lowest loss half way is kept.

    Tried are weight matching, activation matching by correlation and by covariance, weight matching from where each of
    these leads, and the second checkpoint as it is. Half way from the first checkpoint the loss of each is measured on
    the same training samples, at most 2048 that are drawn once: there the result is never worse than doing nothing.
    """

    name = "best"
    tries_others = True
    Options = Options

    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Try all, and keep the best."""
        network = network_of(task, a, b)
        tried = Tried(network.symmetries, a, b, task, self.seed, self.progress)
        add_closed_forms(tried)
        learned = self._learn(tried) if self.options.budget is not None else {}
        said = sentence(tried)
        self.progress.say(said)
        middles = {each.name: _number(each.middle) for each in tried.candidates}
        record = {"kept": tried.best.name, "why": said, "middles": middles, "samples": tried.samples, **learned}
        return Alignment(
            tried.weights(),
            {**network.record(), **record, **done(network.symmetries, tried.best.elements), "failed": tried.failed},
        )

    def _learn(self, tried: Tried) -> dict[str, object]:
        """Learn from the best so far; return what is told of it."""
        start, told = tried.best, dict[str, object]()

        def find() -> Elements:
            budget = Budget.parse(self.options.budget)
            learned = learn(
                tried.symmetries, tried.a, tried.b, tried.task, start.elements, budget=budget, seed=self.seed,
                progress=self.progress, work=self.work,
            )  # fmt: skip
            told.update(steps=learned.steps, losses=learned.losses, stopped=learned.stopped)
            return learned.elements

        tried.add(f"learned from {start.name}", find)
        return told


def sentence(tried: Tried) -> str:
    """Say in one sentence what was kept and why."""
    kept = tried.best
    others = sorted((each for each in tried.candidates if each is not kept), key=lambda each: each.middle)
    nothing = tried.candidates[0]
    beside = [f"{each.middle:.4g} by {each.name}" for each in others[:1] if each is not nothing]
    beside += [f"{nothing.middle:.4g} without alignment"] if kept is not nothing else []
    than = f", instead of {' and '.join(beside)}" if beside else ""
    where = f"half way, on {tried.samples} training samples"
    return f"kept: {kept.name}; its loss {where}, is {kept.middle:.4g}{than}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
