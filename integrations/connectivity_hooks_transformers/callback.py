"""`WatchCallback`: a watched training as a callback of Transformers' Trainer."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import connectivity_hooks as ch

_STATE = "connectivity_hooks.watch"


class WatchCallback(TrainerCallback):  # type: ignore[misc]
    """Checks conditions while `Trainer.train` runs, without changing the training by one bit.

    Every optimizer step is counted, accumulated batches as one. Counters are part of the checkpoint, in
    ``trainer_state.json``. The Trainer tells callbacks nothing of an exception: what was found is in the history, and
    ``callback.watch.remove()`` takes hooks off and writes the summary.

    Args:
        probe: A data set of what the Trainer's own collator takes, or whatever `connectivity_hooks.watch` takes; None
            for the training set.
        watching: The other arguments of `connectivity_hooks.watch`: ``every``, ``conditions``, ``out``, ``log``, …

    Attributes:
        watch: The `Watch` of the current or last training; None before.

    Raises:
        TypeError: `connectivity_hooks.watch` takes no such argument.
    """

    def __init__(self, probe: Any = None, **watching: Any) -> None:
        inspect.signature(ch.watch).bind(None, probe, **watching)  # a misspelt name is said now, not when training starts
        self.watch: ch.Watch | None = None
        self._probe = probe
        self._watching = watching

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        train_dataloader: DataLoader[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Attach, go on from the checkpoint if there is one, and check before the first step if asked to."""
        assert model is not None
        if self.watch is not None:
            self.watch.remove()  # a training before this one ended with an exception
        self.watch = ch.watch(model, self._data(train_dataloader), **self._watching)
        if state.global_step > 0:
            kept = state.stateful_callbacks.get(_STATE, {}).get("attributes", self.watch.state_dict())
            self.watch.load_state_dict({**kept, "step": state.global_step, "epoch": int(state.epoch or 0)})
        self.watch.__enter__()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the optimizer step."""
        assert self.watch is not None
        logs = control.should_log
        self.watch.step()
        control.should_log = logs  # figures that go to Trainer.log must not make it leave out its own
        self._keep(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the epoch."""
        assert self.watch is not None
        logs = control.should_log
        self.watch.epoch()
        control.should_log = logs
        self._keep(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the last check, take hooks off, write the summary."""
        assert self.watch is not None
        self.watch.close()

    def _data(self, training: DataLoader[Any] | None) -> Any:
        """Return the probe, with the Trainer's own collator where it is a data set."""
        if self._watching.get("mode", "probe") == "training" or training is None:
            return self._probe
        data = training.dataset if self._probe is None else self._probe
        # A loader of our own: the prepared one makes the processes wait for each other.
        return DataLoader(data, 64, collate_fn=training.collate_fn) if isinstance(data, Dataset) else data

    def _keep(self, state: TrainerState) -> None:
        assert self.watch is not None
        state.stateful_callbacks[_STATE] = {"args": {}, "attributes": self.watch.state_dict()}
