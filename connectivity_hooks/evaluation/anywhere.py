"""The loss of weights that lie on no path: on a plane, along a direction, anywhere a function can write them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation.evaluate import read_task
from connectivity_hooks.evaluation.measurement import SampleScores
from connectivity_hooks.evaluation.passes import Passes, Point
from connectivity_hooks.paths.path import Path
from connectivity_hooks.tasks.task import Task

_FIRST = 4
"""Places scored together before it is known how long one takes."""
_LOST = 10.0
"""Seconds of work that a kill may lose at most, where many places are scored together."""


class Anywhere:
    """A model that is measured at any weights, inside a ``with`` block; places of a small network share passes.

    What `evaluate` does at a t is done at a place: vectors of spectral norms are computed from the weights, a
    correction is applied, the loss reads targets as `evaluate` has it read them. Figures are those of a pass for each
    place, see `Together`. Memory: the path, one module, and the weights and scores of a group of places.

    Args:
        path: A path of weights that the module has to take; its t are places too.
        task: Model, data and loss.
        correction: What is done to the weights at each place; None leaves them.

    Attributes:
        task: The task, with its loss as it reads these targets.
        notes: What a person should know of buffers, correction and targets.

    Raises:
        InputError: The path does not fit the model, or the correction cannot be used with it.
        UsageError: The correction needs to know where on a path the weights lie.
    """

    def __init__(self, path: Path, task: Task, correction: Correction | None = None) -> None:
        if correction is not None and not correction.by_weights_alone:
            raise UsageError(
                f"correction {correction.name} needs a path, and there is none between places; expected one that goes "
                "by the weights alone, such as batch-norm"
            )
        self._path, self._passes = path, Passes(path, task, correction)
        self._each: float | None = None
        self.task = task
        self.notes = self._passes.notes

    def __enter__(self) -> Anywhere:
        self._passes.__enter__()
        try:
            self._passes.require_faithful((self._path.start, self._path.end))
            self.task, readings, *_ = read_task(self._passes, self.task)
        except BaseException:
            self._passes.__exit__()
            raise
        self.notes = (*self.notes, *readings)
        return self

    def __exit__(self, *error: object) -> None:
        self._passes.__exit__(*error)

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self._passes.threads

    def scores(self, places: Sequence[Point]) -> Iterator[tuple[SampleScores, ...]]:
        """Yield the scores of every sample at each place, in order, one for each split of the task.

        Args:
            places: Each is a t of the path, or writes weights into the module's own tensors by name.

        Raises:
            InputError: The module or the correction fails.
        """
        most = self._passes.group(places[:2])
        first = 0
        while first < len(places):
            group = places[first : first + self._at_a_time(most)]
            started = time.monotonic()
            splits = [list(self._passes.scores(group, split, self.task.loss)) for split in self.task.splits()]
            self._each = (time.monotonic() - started) / len(group)
            first += len(group)
            yield from zip(*splits, strict=True)

    def _at_a_time(self, most: int) -> int:
        return min(most, _FIRST if self._each is None else max(1, int(_LOST / max(self._each, 1e-9))))
