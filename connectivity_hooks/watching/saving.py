"""Checkpoints saved while a training is watched: on a schedule, or when a verdict changes."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Sequence

from torch import nn

from connectivity_hooks.checkpoints.writing import save
from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import InputError
from connectivity_hooks.processes import refuse_sharded
from connectivity_hooks.watching.schedule import Clock, Event, Schedule


class Saver:
    """Writes ``step_00000500.safetensors`` into a folder.

    Args:
        folder: Made with its parents when missing.
        model: The module whose weights are saved.
        weights: Whose they are: ``model`` or ``ema``.
        schedule: When; None for never.
        on_change: Whether when a verdict is another than at the check before.
        task: How the model is made, for the header.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: nn.Module,
        weights: str,
        *,
        schedule: Schedule | None,
        on_change: bool,
        task: str | None,
    ) -> None:
        self._folder = pathlib.Path(folder)
        self._model = model
        self._weights = weights
        self._schedule = schedule
        self._on_change = on_change
        self._task = task
        self._last: int | None = None

    def wanted(self, clock: Clock, event: Event, *, checked: bool, changed: bool) -> bool:
        """Say whether a checkpoint is due."""
        if self._schedule is not None and self._schedule.due(clock, event):
            return True
        if self._on_change:
            return changed
        return checked and self._schedule is None

    def save(self, clock: Clock, verdicts: Sequence[Verdict]) -> pathlib.Path | None:
        """Write the weights; return the file, or None when this step has been saved before.

        Raises:
            InputError: The folder or file cannot be written.
            UsageError: The weights are spread over processes.
        """
        if self._last == clock.step:
            return None
        begun = time.perf_counter()
        refuse_sharded(self._model, "saving the weights")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written to: {error.strerror}; choose another save=") from None
        file = self._folder / f"step_{clock.step:08d}.safetensors"
        found = [[each.condition, each.layer, each.status, each.measured] for each in verdicts]
        about = {"step": clock.step, "epoch": clock.epoch, "weights": self._weights, "verdicts": found}
        save(self._model, file, task=self._task, metadata={"connectivity_hooks.watch": json.dumps(about)})
        self._last = clock.step
        if self._schedule is not None:
            self._schedule.done(clock, time.perf_counter() - begun)
        return file
