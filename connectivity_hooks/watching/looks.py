"""Two ways to look at a training: a probe forward beside it, or what its own passes put out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from connectivity_hooks.checking import layers_of
from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.features.calls import called
from connectivity_hooks.features.capture import Capture, capture
from connectivity_hooks.features.hooks import prepare
from connectivity_hooks.features.layout import NamedLayouts
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.pooling import Pools
from connectivity_hooks.features.window import TARGETS, Window
from connectivity_hooks.model.batches import with_labels
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors
from connectivity_hooks.model.running import PLAIN, Forward, forward
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.processes import refuse_sharded
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.needed_labels import needs_labels
from connectivity_hooks.watching.training_observation import PassedObservation, PassedSplit
from connectivity_hooks.watching.undisturbed import undisturbed

_UNPAIRED = "{} of {} rows came without targets; where there are any, give them to every watch.step(targets=...)"
_OTHER_TARGETS = "it needs targets, and those of one pass cannot be put beside those of another ({})"
_UNPAIRABLE = "the targets given to watch.step(targets=...) fitted none of the passes since the last check"
_NOTHING = (
    "no training pass reached the layers since the last check; a model that was compiled and run before it was watched "
    "ignores hooks: watch it before its first step, or with a probe"
)
_BYTES = (
    "; bytes (uint8) are given to the model as they are: give a probe of what your training's forward takes, scaled "
    "and normalised as there"
)


class Look(ABC):
    """Where the features of a check come from.

    Attributes:
        model: The module looked at, without wrappers.
        layers: The layers looked at.
        seconds: Time that hooks took, on the host.
    """

    model: nn.Module
    layers: tuple[str, ...]
    seconds: float = 0.0

    @abstractmethod
    def observation(self) -> Observation:
        """Return what conditions look at now; raise `InputError` or `UsageError` when nothing can be looked at."""

    def ready(self) -> bool:
        """Say whether there is enough to look at."""
        return True

    def first_faults(self) -> list[str]:
        """Return what is found wrong before the training begins, a line each."""
        return []

    def stepped(self, targets: Tensor | Sequence[Tensor] | None, step: int) -> None:  # noqa: B027 (a probe need not know)
        """Be told that an optimizer step was taken, of which number, and the targets of its passes."""

    def checked(self) -> None:  # noqa: B027 (a probe need not know)
        """Be told that the observation was used."""

    def remove(self) -> None:  # noqa: B027 (a probe leaves nothing on the model)
        """Take off what was put on the model."""


class ProbeLook(Look):
    """Runs the module on probe data, beside the training.

    Args:
        model: The module, or one that averages its weights.
        split: The probe.
        loss: The task's loss.
        layers: Names, globs, or None for the default.
        batch_size: Samples of one forward pass.
        pool: How positions become neurons.
        forward: How the model is run, and which of what it returns are its outputs.
        axes: Which axis is what, where it cannot be told, see `observe`.
    """

    def __init__(
        self,
        model: nn.Module,
        split: BatchedSplit,
        loss: Loss,
        layers: str | Sequence[str] | None,
        *,
        batch_size: int,
        pool: Pools,
        forward: Forward = PLAIN,
        axes: NamedLayouts = None,
    ) -> None:
        prepare()
        self.model = unwrapped(model)
        self.layers = layers_of(self.model, layers)
        self._split = split
        self._loss = loss
        self._batch_size = batch_size
        self._pool = pool
        self._forward, self._axes = forward, axes

    def observation(self) -> Observation:
        """Return the module and the probe, where the module is now."""
        refuse_sharded(self.model, "a probe forward")
        for name, parameter in self.model.named_parameters():
            if isinstance(parameter, UninitializedParameter):
                raise InputError(f"{name} is not initialised yet; run the model once before it is watched")
        return Observation(
            self.model,
            self._placed(),
            self._loss,
            self.layers,
            self._batch_size,
            self._pool,
            forward=self._forward,
            axes=self._axes,
        )

    def first_faults(self) -> list[str]:
        """Run two samples, and name what does not fit and what never fires; `needs_labels` is settled by them too."""
        try:
            batch = next(iter(self.observation().split.head(2).batches(2)))
        except Exception as error:
            return [one_line(error)]
        if needs_labels(self.model, batch, self._runs):
            self._split, batch = self._split.labelled(), with_labels(batch)
        with undisturbed(self.model), warnings.catch_warnings(), capture(self.model, self.layers) as features:
            warnings.simplefilter("ignore")  # what the capture warns of is returned here
            try:
                with torch.no_grad():
                    forward(self.model, batch[0])
            except Exception as error:
                unfit = f"probe: inputs {_shapes(batch[0])} do not fit {type(self.model).__name__}: {one_line(error)}"
                return [unfit + (_BYTES if _has_bytes(batch[0]) else "")]
        self.layers = called(self.layers, features)
        return [_missing(features, layer) for layer in self.layers if layer not in features]

    def _runs(self, inputs: Inputs) -> bool:
        with undisturbed(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with torch.no_grad():
                    forward(self.model, inputs)
            except Exception:  # what it lacks is named by the pass whose features are looked at
                return False
        return True

    def _placed(self) -> BatchedSplit:
        for parameter in self.model.parameters():
            if parameter.is_floating_point():
                return self._split.at(parameter.device, parameter.dtype)
        return self._split


@dataclass(frozen=True)
class Kept:
    """What is kept of the training's own passes.

    Attributes:
        every: Optimizer steps from one that is listened to until the next.
        samples: Rows kept from one check to the next.
        pool: How positions become neurons.
        seed: Seed of the rows' draw.
        strict: Raise what goes wrong in a hook.
    """

    every: int
    samples: int
    pool: Pools
    seed: int
    strict: bool


class TrainingLook(Look):
    """Listens to the training's own forward passes.

    Args:
        model: As it is trained, wrappers included.
        loss: The task's loss.
        layers: Names, globs, or None for the default.
        kept: What is kept of them.
    """

    def __init__(self, model: nn.Module, loss: Loss, layers: str | Sequence[str] | None, kept: Kept) -> None:
        self.model = unwrapped(model)
        self.layers = layers_of(self.model, layers)
        self._loss = loss
        self._kept = kept
        self._listened = 0
        left_out = LeftOut("raise" if kept.strict else "warn")
        self._window = Window(self.model, samples=kept.samples, pool=kept.pool, seed=kept.seed, left_out=left_out)
        self._capture = Capture(model, self.layers, self._window)

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """Time that the hooks took, on the host."""
        return self._capture.seconds

    def ready(self) -> bool:
        """Say whether the sample is full, or empty though it should not be."""
        return self._window.rows >= self._kept.samples or (self._listened > 0 and not self._window.heard)

    def observation(self) -> Observation:
        """Return the features that passed since the last check."""
        features = dict(self._window.features)
        targets = features.pop(TARGETS, None)
        problems = dict(self._capture.problems)
        if not features and not problems:
            raise InputError(_UNPAIRABLE if self._window.heard else _NOTHING)
        rows = min(self._window.rows, self._kept.samples) if targets is None else len(targets)
        split = PassedSplit(rows, self._why_unpaired() if targets is None else targets)
        layers, taken = called(self.layers, features), self._window.words()
        return PassedObservation(self.model, features, split, self._loss, layers, problems, taken)

    def _why_unpaired(self) -> str:
        if self._window.unpairable:
            return _OTHER_TARGETS.format(self._window.unpairable)
        return _UNPAIRED.format(self._window.unpaired, self._window.rows)

    def stepped(self, targets: Tensor | Sequence[Tensor] | None, step: int) -> None:
        """Pair the passes of this step with their targets, and listen to the next or not."""
        self._listened += not self._capture.paused
        self._capture.paused = step % self._kept.every != 0
        self._window.pair(targets)

    def checked(self) -> None:
        """Begin a new sample."""
        self._listened = 0
        self._window.clear()

    def remove(self) -> None:
        """Take the hooks off."""
        self._capture.remove()


def _missing(features: Capture, layer: str) -> str:
    try:
        features[layer]
    except KeyError as error:
        return str(error.args[0])
    return ""


def _has_bytes(inputs: Any) -> bool:
    return any(tensor.dtype == torch.uint8 for _, tensor in named_tensors(inputs))


def _shapes(inputs: Any) -> str:
    return str(mapped(lambda value: tuple(value.shape[1:]), inputs))
