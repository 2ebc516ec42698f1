"""Forward passes of one module at points of a path, its weights swapped in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from connectivity_hooks.evaluation.batch_norm import reestimate
from connectivity_hooks.paths.path import Path
from connectivity_hooks.paths.walk import Walk
from connectivity_hooks.paths.weights import weights_of
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

BatchNorm = Literal["stored", "re-estimated"]


class Passes:
    """One module that takes the weights of any t.

    Memory: the path, the module, and copies of those tensors of the last point passed of which a block changed.

    Args:
        path: The path.
        task: Makes the module.
        batch_norm: ``stored`` uses the path's running statistics; ``re-estimated`` measures them anew at each t.
    """

    def __init__(self, path: Path, task: Task, batch_norm: BatchNorm = "stored") -> None:
        self._task = task
        self._batch_norm = batch_norm
        self.model = task.model()
        self._weights = weights_of(self.model)
        self._walk = Walk(path.to(task.device, task.dtype))
        self._t: float | None = None

    def scored(self, t: float, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (outputs, targets) batch by batch with the weights at t."""
        self._go(t)
        for inputs, targets in split.batches(self._task.batch_size):
            yield self._forward(inputs), targets

    def outputs(self, t: float, split: Split) -> Tensor:
        """Return the outputs (N, …) with the weights at t."""
        return torch.cat([outputs for outputs, _ in self.scored(t, split)])

    @torch.no_grad()
    def _forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        return outputs

    def _go(self, t: float) -> None:
        if t == self._t:
            return
        self._walk.write(t, self._weights)
        if self._batch_norm == "re-estimated":
            reestimate(self.model, self._task.train, self._task.batch_size)
        self._t = t
