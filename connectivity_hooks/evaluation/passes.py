"""Forward passes of one module at points of a path, its weights swapped in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.measurement import SampleScores
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.evaluation.together import Together
from connectivity_hooks.facts import other_model
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.model.pristine import pristine
from connectivity_hooks.model.repeatable import require_repeatable
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.paths.fitting import require_fit, require_written
from connectivity_hooks.paths.path import Path
from connectivity_hooks.structure.untouched import require_forgetful
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

Point: TypeAlias = float | Weights | Callable[[Weights], None]
"""A t of a path, weights of no t, or what writes weights of no t into a module's own tensors by name."""

_FEW = 32
"""Samples on which a model is tried: chance that strikes one value in a hundred shows, and it costs next to nothing."""


class Passes:
    """One module that takes the weights of any t, run on several batches side by side inside a ``with`` block.

    Memory: see `ModelOnPath`.

    Args:
        path: The path.
        task: Makes the module.
        correction: What is done to the weights at each t; None leaves the path's own.

    Attributes:
        model: The module.
        notes: What a person should know: that the path is of another model, of its buffers and of the correction.

    Raises:
        InputError: The path does not fit the model, or the correction cannot be used with it.
    """

    def __init__(self, path: Path, task: Task, correction: Correction | None = None) -> None:
        self._task = task
        self._moving = ModelOnPath(path, task)
        self.model = self._moving.model
        self._fresh = pristine(self.model)  # before the first pass
        require_fit(path, self.model)
        first = task.train.head(task.batch_size)
        self._side_by_side = SideBySide(self.model, next(iter(first.batches(task.batch_size)))[0], task.forward)
        self._corrected = Corrected(self._moving, correction)
        # A correction works on the module itself, with whatever it has prepared there.
        self._together = Together(self.model, task, self._side_by_side, alone=correction is not None)
        another = other_model(path, task.facts())
        own = () if another is None else (another,)
        self.notes = (*own, *buffer_notes(self.model, path, self._corrected.left), *self._corrected.notes)
        self._t: float | None = None

    @property
    def voided(self) -> bool:
        """Whether a correction is applied at every t, so that no guarantee is about what is measured."""
        return self._corrected.everywhere

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self._side_by_side.count

    def __enter__(self) -> Passes:
        self._side_by_side.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._side_by_side.__exit__(*error)

    def scored(self, t: float | None, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (outputs, targets) batch by batch with the weights at t."""
        self._go(t)
        yield from self._side_by_side.outputs(split.batches(self._task.batch_size))

    def under(
        self, point: float | Weights, batches: Iterable[tuple[Inputs, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (outputs, targets) for batches of (inputs, targets), with the weights at t or with weights of no t."""
        self._place(point)
        yield from self._side_by_side.outputs(batches)

    def scores(self, points: Sequence[Point], split: Split, loss: Loss) -> Iterator[SampleScores]:
        """Yield the scores of a split's samples at each of many points, in order; see `Together`.

        Args:
            points: Each is a t of the path, weights of no t, or writes weights of no t that are corrected then.
            split: The split.
            loss: The loss.
        """
        yield from self._together.scores([partial(self._place, point) for point in points], split, loss)

    def group(self, points: Sequence[Point]) -> int:
        """Return how many of some points are scored together on every split, 1 where each has passes of its own."""
        places = [partial(self._place, point) for point in points]
        return min(self._together.group(places, split) for split in self._task.splits())

    def require_faithful(self, ends: tuple[Weights, Weights]) -> None:
        """Refuse a model whose outputs are not those of the weights that were written into it.

        Raises:
            InputError: It does not keep the weights, keeps what it computed under earlier ones, or is random.
        """
        few = self._task.train.head(2)
        inputs, more = (self._first(count) for count in (2, _FEW))
        for t, weights in zip((0.0, 1.0), ends, strict=True):
            self._go(t)
            if not self._corrected.corrects(t):
                require_written(self.model, weights)
            self.outputs(t, few)
            require_repeatable(self.model, more, self._task.forward)
        last = None if self._corrected.corrects(1.0) else ends[1]
        # after it ran under the weights of the first end
        require_forgetful(self.model, self._fresh, last, inputs, self._task.forward)
        self._t = None  # counters that no output depends on have counted

    def write(self, weights: Weights) -> None:
        """Give the module weights of no t; they stay until another t is asked for."""
        self._moving.write(weights)
        self._t = None

    def weights(self, t: float | None) -> Weights:
        """Return the module's own tensors with the weights at t, or with those written last, to be read only."""
        self._go(t)
        return self._moving.weights

    def beside(self, t: float | None, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, outputs) batch by batch with the weights at t, or with those written last."""
        inputs = (given for given, _ in split.batches(self._task.batch_size))
        yield from zip(inputs, (outputs for outputs, _ in self.scored(t, split)), strict=True)

    def outputs(self, t: float, split: Split) -> Tensor:
        """Return the outputs (N, …) with the weights at t."""
        return torch.cat([outputs for outputs, _ in self.scored(t, split)])

    def _place(self, point: Point) -> None:
        if isinstance(point, Mapping):
            self.write(point)
        elif callable(point):
            self._t = None
            self._corrected.visit(point)
        else:
            self._go(point)

    def _first(self, count: int) -> Inputs:
        """Return the inputs of the first samples, of one batch at most."""
        first = self._task.train.head(min(count, len(self._task.train)))
        return next(iter(first.batches(self._task.batch_size)))[0]

    def _go(self, t: float | None) -> None:
        if t == self._t or t is None:
            return
        self._t = None  # neither is true while a correction works, which may fail
        self._corrected.go(t)
        self._t = t
