"""`WatchCallback`: a watched training as a callback of Transformers' Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import connectivity_hooks as ch
from connectivity_hooks_transformers.layers import block_layers
from connectivity_hooks_transformers.probe import labels_kept, reads_labels
from connectivity_hooks_transformers.targets import PassedTargets

_STATE = "connectivity_hooks.watch"
# Samples that the Trainer's collator puts together: more are padded to a longer longest one, fewer take more calls.
_BATCH = 64


class WatchCallback(TrainerCallback):
    """Checks conditions while `Trainer.train` runs, without changing the training by one bit.

    Every optimizer step is counted, accumulated batches as one. Counters are part of the checkpoint, in
    ``trainer_state.json``. The Trainer tells callbacks nothing of an exception: what was found is in the history, and
    `remove` takes hooks off and writes the summary.

    The last check is made after the last step, before the Trainer loads the best weights in their place. Where the
    training ends without this callback being told, the last step is not checked, and that is said.

    Args:
        probe: A data set of what the Trainer's collator takes, or whatever `connectivity_hooks.watch` takes; None for
            the training set. Encoders with a decoder (T5, Whisper) get its labels, of which they make decoder inputs.
        watching: The other arguments of `connectivity_hooks.watch`: ``every``, ``conditions``, ``out``, ``log``, …;
            without ``layers``, the model's blocks and what enters its head (`block_layers`).

    Attributes:
        watch: The `Watch` of the current or last training; None before.

    Raises:
        TypeError: `connectivity_hooks.watch` takes no such argument.
    """

    def __init__(self, probe: Any = None, **watching: Any) -> None:
        inspect.signature(ch.watch).bind(
            None, probe, **watching
        )  # a misspelt name is said now, not when training starts
        self.watch: ch.Watch | None = None
        self._probe = probe
        self._watching = watching
        self._targets: PassedTargets | None = None

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
        self.remove()  # a training before this one may have ended with an exception
        if train_dataloader is None:
            train_dataloader = getattr(state, "train_dataloader", None)  # there in Transformers 4.49
        listening = self._watching.get("mode") == "training"
        probe = self._probe if listening else self._data(train_dataloader)
        probe = labels_kept(probe) if reads_labels(model) and probe is not None else probe
        self.watch = ch.watch(model, probe, **{"layers": block_layers(model), **self._watching})
        self._targets = PassedTargets(model) if listening else None
        if state.global_step > 0:
            kept = state.stateful_callbacks.get(_STATE)
            attributes = kept.get("attributes") if isinstance(kept, dict) else kept
            self.watch.go_on(attributes, step=state.global_step, epoch=int(state.epoch or 0))
        with _logging_kept(control):
            self.watch.__enter__()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the optimizer step; after the last one, make the last check while the weights are still its own."""
        assert self.watch is not None
        with _logging_kept(control):
            self.watch.step(None if self._targets is None else self._targets.take())
            if _is_over(state, control):
                self.watch.last_check(epoch_ends=True)
        self._keep(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the epoch."""
        assert self.watch is not None
        with _logging_kept(control):
            self.watch.epoch()
            if _is_over(state, control):
                self.watch.last_check()
        self._keep(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Make the last check, if an evaluation is what ends the training."""
        self._check_if_over(state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Make the last check, if what came before ends the training."""
        self._check_if_over(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the last check if the weights are still the last step's, take hooks off, write the summary."""
        assert self.watch is not None
        with _logging_kept(control):
            self.watch.close(exchanged=args.load_best_model_at_end and state.best_model_checkpoint is not None)
        self.remove()

    def remove(self) -> None:
        """Take hooks off and write the summary, without a last check; for a training that ended with an exception."""
        if self._targets is not None:
            self._targets.remove()
        if self.watch is not None:
            self.watch.remove()

    def _data(self, training: DataLoader[Any] | None) -> Any:
        """Return the probe; a data set comes in a loader with the Trainer's collator.

        The Trainer's own loader would not do: where there are several processes it makes them wait for each other.
        """
        probe = self._probe
        if training is None or isinstance(probe, (tuple, list)) or not (probe is None or hasattr(probe, "__getitem__")):
            return probe
        return DataLoader(training.dataset if probe is None else probe, _BATCH, collate_fn=training.collate_fn)

    def _check_if_over(self, state: TrainerState, control: TrainerControl) -> None:
        # an evaluation before the training, or after it, is none of the training's
        if self.watch is not None and 0 < self.watch.steps == state.global_step and _is_over(state, control):
            with _logging_kept(control):
                self.watch.last_check()

    def _keep(self, state: TrainerState) -> None:
        assert self.watch is not None
        state.stateful_callbacks[_STATE] = {"args": {}, "attributes": self.watch.state_dict()}


def _is_over(state: TrainerState, control: TrainerControl) -> bool:
    return bool(control.should_training_stop) or 0 < state.max_steps <= state.global_step


@contextmanager
def _logging_kept(control: TrainerControl) -> Iterator[None]:
    """Keep the Trainer's intention to log: figures handed to `Trainer.log` in the block would cancel it."""
    wanted = control.should_log
    yield
    control.should_log = wanted
