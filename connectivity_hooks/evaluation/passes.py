"""Forward passes of one module at points of a path, its weights swapped in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from connectivity_hooks.evaluation.batch_norm import Reestimation
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.spectral_norm import norms_inside, recompute, spectral_norms
from connectivity_hooks.model.weights import Weights, assign, weights_of
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.paths.fitting import require_written
from connectivity_hooks.paths.path import Path
from connectivity_hooks.paths.walk import Walk
from connectivity_hooks.structure.untouched import Attributes, pristine, require_forgetful
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

BatchNorm = Literal["stored", "re-estimated"]


class Passes:
    """One module that takes the weights of any t, run on several batches side by side inside a ``with`` block.

    Memory: the path, the module, and copies of those tensors of the last point passed of which a block changed.

    Args:
        path: The path.
        task: Makes the module.
        batch_norm: ``stored`` uses the path's running statistics; ``re-estimated`` measures them anew at each t.

    Attributes:
        model: The module.
        notes: What a person should know of its buffers.

    Raises:
        InputError: Statistics are to be re-estimated from a single sample.
    """

    def __init__(self, path: Path, task: Task, batch_norm: BatchNorm = "stored") -> None:
        self._task = task
        self.model = task.blank()
        first = task.train.head(task.batch_size)
        self._side_by_side = SideBySide(self.model, next(iter(first.batches(task.batch_size)))[0], task.forward)
        self._weights = weights_of(self.model)
        self._attributes, self._fresh = Attributes(self.model), pristine(self.model)
        self._statistics = Reestimation(self.model, task.train, task.batch_size) if batch_norm != "stored" else None
        self._path, self._spectral = path, spectral_norms(path.start)
        self.notes = buffer_notes(self.model, path, self._statistics.left if self._statistics else ())
        self._walk = Walk(path.to(task.device, task.dtype))
        self._t: float | None = None

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

    def require_faithful(self, ends: tuple[Weights, Weights]) -> None:
        """Refuse a model whose outputs are not those of the weights that were written into it.

        Raises:
            InputError: It does not keep the weights, or keeps what it computed under earlier ones.
        """
        few = self._task.train.head(2)
        inputs = next(iter(few.batches(2)))[0]
        for t, weights in zip((0.0, 1.0), ends, strict=True):
            self._go(t)
            if self._statistics is None:
                require_written(self.model, weights)
            self.outputs(t, few)
        require_forgetful(
            self.model, self._fresh, inputs, self._task.forward
        )  # after it ran under the weights of the first end

    def write(self, weights: Weights) -> None:
        """Give the module weights of no t; they stay until another t is asked for."""
        self._attributes.put_back()
        assign(self._weights, weights)
        self._t = None

    def weights(self, t: float | None) -> Weights:
        """Return the module's own tensors with the weights at t, or with those written last, to be read only."""
        self._go(t)
        return self._weights

    def beside(self, t: float | None, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, outputs) batch by batch with the weights at t, or with those written last."""
        inputs = (given for given, _ in split.batches(self._task.batch_size))
        yield from zip(inputs, (outputs for outputs, _ in self.scored(t, split)), strict=True)

    def outputs(self, t: float, split: Split) -> Tensor:
        """Return the outputs (N, …) with the weights at t."""
        return torch.cat([outputs for outputs, _ in self.scored(t, split)])

    def _go(self, t: float | None) -> None:
        if t == self._t or t is None:
            return
        self._attributes.put_back()  # tables that a module made of the weights before
        self._walk.write(t, self._weights)
        recompute(norms_inside(self._path, t, self._spectral), self._weights)
        if self._statistics is not None:
            self._statistics.apply()
        self._t = t
