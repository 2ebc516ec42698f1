"""Time that passed since a training began, and the part of it that watching took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Stopwatch:
    """Measures seconds over all runs of a training, those between two runs left out."""

    def __init__(self) -> None:
        self.go_on(0.0, 0.0)

    def go_on(self, elapsed: float, spent: float) -> None:
        """Start again from what an earlier run measured."""
        self._begun = time.perf_counter()
        self._before = elapsed
        self._spent = spent

    @property
    def elapsed(self) -> float:
        """Seconds since the training began."""
        return self._before + time.perf_counter() - self._begun

    @property
    def spent(self) -> float:
        """Seconds inside `running` blocks."""
        return self._spent

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the block as time that watching took."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._spent += time.perf_counter() - begun


def finish_queued_work(model: nn.Module) -> None:
    """Wait for what the training has queued on a GPU, so that it is not taken for what comes next."""
    for device in {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}:
        torch.cuda.synchronize(device)
