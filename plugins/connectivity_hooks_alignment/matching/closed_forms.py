"""All matches that need no training, and the one of them with the lowest loss half way.

None of them always wins, and distance in weights says little of the loss between them (docs/alignment.md), so each is
measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.structure import Elements, Symmetries, transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_activations.activations import MEASURES, Measure, match_activations
from connectivity_hooks_alignment.matching.by_activations.recording import SAMPLES, Recorded, recorded
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights
from connectivity_hooks_alignment.matching.middle import measured_part, middle_loss

NOTHING = "no alignment"
"""Name of the second checkpoint as it is."""

ROUNDING = 1e-6
"""Of a loss in float32, relative: what the order of sums makes of one function."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to match, and what came of it.

    Attributes:
        name: In words.
        elements: What is done to each space.
        middle: Mean loss half way from the first checkpoint, on training samples; infinite where it is not a number.
        seconds: What finding and measuring it took.
    """

    name: str
    elements: Elements
    middle: float
    seconds: float


class Tried:
    """Matches of one pair, each with its loss half way on the same training samples.

    The first candidate is the second checkpoint as it is.

    Args:
        symmetries: The network's.
        a: Weights of the first checkpoint.
        b: Weights of the second.
        task: Model, training data and loss.
        seed: Of the samples, and of whatever else is drawn.
        progress: Shows each candidate.

    Attributes:
        candidates: In the order they were tried.
        failed: For each way that found nothing why.
        samples: How many samples middles are measured on.
    """

    def __init__(
        self, symmetries: Symmetries, a: Weights, b: Weights, task: Task, seed: int = 0, progress: Progress = SILENT
    ) -> None:
        self.symmetries, self.a, self.b, self.task = symmetries, a, b, task
        self.seed, self.progress = seed, progress
        self._part = measured_part(task.train, seed)
        self.samples = len(self._part)
        self.candidates: list[Candidate] = []
        self.failed: dict[str, str] = {}
        self.add(NOTHING, dict)

    @property
    def best(self) -> Candidate:
        """The candidate with the lowest middle, of those that are equal but for rounding the first."""
        least = min(each.middle for each in self.candidates)
        return next(each for each in self.candidates if each.middle <= least + ROUNDING * abs(least))

    def add(self, name: str, find: Callable[[], Elements], before: float = 0.0) -> None:
        """Try a way; what it refuses is noted, and is no candidate.

        Args:
            name: The way in words.
            find: Returns what it does to each space.
            before: Seconds that went into it already.
        """
        started = time.perf_counter()
        try:
            elements = find()
        except InputError as error:
            self.failed[name] = str(error)
            self.progress.say(f"{name}: {error}")
            return
        middle = middle_loss(self.a, self._aligned(name, elements), self.task, self._part)
        seconds = before + time.perf_counter() - started
        self.progress.say(f"{name}: loss half way {middle:.4g}, {seconds:.1f} s")
        self.candidates.append(Candidate(name, elements, middle if math.isfinite(middle) else math.inf, seconds))

    def weights(self) -> Weights:
        """Return the second checkpoint, aligned as the best candidate does it."""
        return self._aligned(self.best.name, self.best.elements)

    def _aligned(self, name: str, elements: Elements) -> Weights:
        return self.b if name == NOTHING else transformed(self.symmetries, self.b, elements, like=self.a)


def add_closed_forms(tried: Tried, samples: int = SAMPLES) -> None:
    """Match by weights, by activations, and by weights from where activations lead.

    Time: weight matching three times, one pass of both networks over `samples`, and five passes over what middles are
    measured on.

    Args:
        tried: Takes the candidates.
        samples: Training samples that activations are recorded on.
    """
    symmetries, a, b = tried.symmetries, tried.a, tried.b
    drawn: dict[str, Any] = {"seed": tried.seed, "progress": tried.progress}
    tried.add("weights", lambda: match_weights(symmetries, a, b, **drawn).elements)
    started = time.perf_counter()
    try:
        seen = recorded(tried.task, symmetries, a, b, samples=samples, **drawn)
    except InputError as error:
        tried.failed["activations"] = str(error)
        tried.progress.say(f"activations: {error}")
        return
    passed = time.perf_counter() - started
    for measure in MEASURES:
        _add_activations(tried, seen, measure, passed)


def _add_activations(tried: Tried, seen: Recorded, measure: Measure, passed: float) -> None:
    symmetries, a, b, name = tried.symmetries, tried.a, tried.b, f"activations ({measure})"
    start = match_activations(symmetries, seen, a, b, measure=measure)

    def onwards() -> Elements:
        return match_weights(symmetries, a, b, seed=tried.seed, progress=tried.progress, start=start).elements

    tried.add(name, lambda: start, passed)
    tried.add(f"{name}, then weights", onwards, passed)
