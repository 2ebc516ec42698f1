"""How a pair is connected and measured: the builder, the aligner, and the measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from connectivity_hooks.connecting.pair import Pair
from connectivity_hooks.connecting.subject import subject
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import BUDGET, make_options, takes_budget
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.progress import Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.task import Task

M = TypeVar("M", bound=Method)


@dataclass(frozen=True)
class Connecting:
    """How two checkpoints are connected and measured."""

    builder: Builder
    aligner: Aligner | None = None
    measuring: Measuring = field(default_factory=Measuring)

    def describe(self) -> dict[str, object]:
        """Return it as written into a report."""
        aligner = self.aligner
        return {
            "builder": self.builder.name,
            "options": self.builder.used_options(),
            "aligner": aligner.name if aligner else None,
            "aligner_options": aligner.used_options() if aligner else {},
            **self.measuring.describe(),
        }

    def subject(self, pair: Pair, task: Task, data: str) -> dict[str, object]:
        """Return everything that a pair's path and its measurement at some t depend on, see `connecting.subject`."""
        ends = [end.sha256 for end in pair.end_points]
        return subject(ends, self.builder, self.aligner, task, self.measuring.correct, data)


def make_builder(
    name: str,
    options: Mapping[str, object] | None,
    *,
    seed: int,
    progress: Progress,
    budget: str | None = None,
    beside: Sequence[str] = (),
) -> Builder:
    """Make a builder by its name, its options, and a budget for one that has such an option and is given none.

    `beside` are names that mean something to the caller and are no builder's, for the message.

    Raises:
        UsageError: The name or an option is unknown.
    """
    return make(registry().builder(name, beside), options, seed=seed, progress=progress, budget=budget)


def make_aligner(
    name: str | None,
    options: Mapping[str, object] | None,
    *,
    seed: int,
    progress: Progress,
    budget: str | None = None,
) -> Aligner | None:
    """Make an aligner likewise; None where none is named."""
    if name is None:
        return None
    return make(registry().aligner(name), options, seed=seed, progress=progress, budget=budget)


def make(
    kind: type[M], options: Mapping[str, object] | None, *, seed: int, progress: Progress, budget: str | None = None
) -> M:
    """Make a method of its class and options, and a budget, as `make_builder` does."""
    given = with_budget(kind, options or {}, budget)
    return kind(make_options(kind.Options, given, kind.name), seed=seed, progress=progress)


def with_budget(kind: type[Method], options: Mapping[str, object], budget: str | None) -> dict[str, object]:
    """Return a method's options with the budget of all of them, where it has such an option and is given none."""
    shared = {} if budget is None or not takes_budget(kind.Options) else {BUDGET: budget}
    return {**shared, **options}
