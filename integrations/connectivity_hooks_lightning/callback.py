"""`WatchCallback`: a watched training as a callback of Lightning's Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, nn

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError, near_matches
from connectivity_hooks.watching import loggers


class WatchCallback(Callback):
    """Checks conditions while `Trainer.fit` runs, without changing the training by one bit.

    Optimizer steps are counted as `Trainer.global_step` counts them: accumulated batches are one, and each optimizer of
    a manual optimization counts. Figures go to the Trainer's loggers and to `Trainer.callback_metrics`. Counters are
    part of the checkpoint. The last check is made when the training ends, while the module is still on its device, and
    before callbacks that average weights (EMA, SWA) put the average in their place: for that this one is put first
    among the Trainer's callbacks.

    Args:
        probe: As for `connectivity_hooks.watch`.
        network: Dotted name of the module to look at inside the LightningModule, e.g. ``net``; None for the
            LightningModule itself, whose `forward` then takes the probe's inputs.
        ema: Dotted name of an average of its weights to look at instead.
        averages: Averages of its weights that are compared with them, see `connectivity_hooks.watch`: True for those
            that Lightning's `WeightAveraging` callbacks (2.6) keep, under their classes' names; or the dotted name of a
            module; or several by name.
        log: Further places for figures, as for `connectivity_hooks.watch`.
        watching: Its other arguments: ``every``, ``conditions``, ``out``, ``save``, …

    Attributes:
        watch: The `Watch` of the current or last fit; None before.

    Raises:
        TypeError: `connectivity_hooks.watch` takes no such argument.
    """

    def __init__(
        self,
        probe: Any = None,
        *,
        network: str | None = None,
        ema: str | None = None,
        averages: Literal[True] | str | Mapping[str, str] | None = None,
        log: Any = None,
        **watching: Any,
    ) -> None:
        inspect.signature(ch.watch).bind(None, probe, **watching)  # a misspelt name is said now, not when a fit starts
        self.watch: ch.Watch | None = None
        self._probe = probe
        self._network = network
        self._ema = ema
        self._averages = averages
        self._log = log
        self._watching = watching
        self._state: Mapping[str, Any] | None = None
        self._targets: list[Tensor] = []
        self._figures: dict[str, float] = {}
        self._over = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come before the Trainer's other callbacks: at the end some exchange the weights for an average.

        Where an average is looked at that others keep, they come first; not where it is compared with the trained
        weights, which have to be there still.
        """
        if stage == "fit" and (self._ema is None or self._averages is not None):
            others = [callback for callback in trainer.callbacks if callback is not self]
            trainer.callbacks = [self, *others]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach to the module, which is on its device and wrapped by now."""
        self._over = False
        network = _named(pl_module, self._network)
        ema = None if self._ema is None else _named(pl_module, self._ema)
        log = [*loggers(trainer.loggers), lambda values, _: self._figures.update(values), *loggers(self._log)]
        averages = self._found_averages(trainer, pl_module)
        self.watch = ch.watch(network, self._probe, ema=ema, averages=averages, log=log, **self._watching)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from the checkpoint or the fit before, if there is one; check before the first step if asked to."""
        assert self.watch is not None
        if trainer.global_step > 0:
            self.watch.go_on(self._state or None, step=trainer.global_step, epoch=trainer.current_epoch)
        self._state = None
        self.watch.__enter__()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the last check when an average is about to take the weights' place, for a last pass over the data."""
        assert self.watch is not None
        if any(_exchanges_now(callback, trainer) for callback in trainer.callbacks):
            self.watch.close()
            self._over = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the optimizer steps that this batch brought: none while gradients accumulate."""
        assert self.watch is not None
        if self._over:
            return
        self._targets += _targets(batch)
        while self.watch.steps < trainer.global_step:
            self.watch.step(list(self._targets) or None)
            self._targets.clear()
        self._hand_over(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        assert self.watch is not None
        self.watch.epoch()
        self._hand_over(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the last check, take hooks off, write the summary."""
        assert self.watch is not None
        self.watch.close()
        self._state = self.watch.state_dict()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take hooks off and write the summary of what was found."""
        if self.watch is not None:
            self.watch.remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, for the checkpoint."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's counters until the training starts."""
        self._state = state_dict

    def _found_averages(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, nn.Module] | None:
        if self._averages is None:
            return None
        if self._averages is True:
            return _kept_by_callbacks(trainer, self._network)
        names = {"average": self._averages} if isinstance(self._averages, str) else self._averages
        return {name: _named(pl_module, dotted) for name, dotted in names.items()}

    def _hand_over(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put new figures into `Trainer.callback_metrics`; the loggers have them, at every check's own step."""
        if self._figures:
            pl_module.log_dict(self._figures, logger=False, rank_zero_only=trainer.world_size > 1)
            self._figures = {}


def _exchanges_now(callback: Callback, trainer: Trainer) -> bool:
    """Say whether SWA will now put its average in place, to pass the data once more for the batch norms."""
    return isinstance(callback, StochasticWeightAveraging) and trainer.current_epoch > callback.swa_end >= 0


def _kept_by_callbacks(trainer: Trainer, network: str | None) -> dict[str, nn.Module]:
    """Return the averages that `WeightAveraging` callbacks keep, of the module of that dotted name, by their classes.

    Raises:
        UsageError: There are none.
    """
    kind: Any = getattr(callbacks, "WeightAveraging", ())  # Lightning 2.6
    found: dict[str, nn.Module] = {}
    for callback in trainer.callbacks:
        average = callback._average_model if isinstance(callback, kind) else None
        if average is not None:
            name = type(callback).__name__
            name = f"{name}-{1 + len(found)}" if name in found else name
            found[name] = _Average(average, _named(average.module, network))
    if not found:
        raise UsageError(
            "WatchCallback: averages=True takes what WeightAveraging callbacks (Lightning 2.6) keep, and the Trainer "
            "has none; add one, or give the dotted name of a module"
        )
    return found


class _Average(nn.Module):
    """A part of an `AveragedModel`, with its count of how many weights it has taken in."""

    def __init__(self, whole: nn.Module, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.n_averaged = whole.n_averaged


def _named(module: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        return module
    inside: dict[str, nn.Module] = dict(module.named_modules())
    if name not in inside:
        raise UsageError(f"no module {name!r} in {type(module).__name__}; {near_matches(name, inside)}")
    return inside[name]


def _targets(batch: Any) -> list[Tensor]:
    """Return the targets of a batch (inputs, targets) or of a dict with ``labels``; none of any other."""
    if isinstance(batch, Mapping):
        found = batch.get("labels")
    else:
        found = batch[1] if isinstance(batch, Sequence) and len(batch) == 2 else None
    return [found] if isinstance(found, Tensor) else []
