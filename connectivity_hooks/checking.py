"""Checking a condition on a checkpoint, or on a module that is already in memory."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from connectivity_hooks.checkpoints import Checkpoint, fit, read
from connectivity_hooks.contracts.condition import Condition, Verdict
from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.errors import UsageError, one_line
from connectivity_hooks.features.layout import NamedLayouts, check_layers
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.pooling import Pools
from connectivity_hooks.features.select import feature_layers, proposed_layers, select
from connectivity_hooks.model.weights import assign, weights_of
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import no_exit
from connectivity_hooks.tasks.task import Task

_NAMED = 5  # layers left out that one line names; a large model may have dozens for one reason

_END = object()


def load_model(checkpoint: Checkpoint | str | os.PathLike[str], task: Task) -> nn.Module:
    """Return the task's module with a checkpoint's weights, in evaluation mode.

    Raises:
        InputError: The file is unreadable, holds NaN or Inf, or does not fit the model.
    """
    read_in = checkpoint if isinstance(checkpoint, Checkpoint) else read(pathlib.Path(checkpoint))
    model = task.blank()
    assign(weights_of(model), fit(read_in, model, finite=True).weights)
    return model


def layers_of(model: nn.Module, layers: str | Sequence[str] | None = None, *, calls: bool = False) -> tuple[str, ...]:
    """Return the layers to look at: those named, else the model's library's, else what enters each layer of weights.

    Args:
        model: The module.
        layers: Names, globs or ``NAME:input``; None for the default.
        calls: Single calls of a module, ``NAME[0]``, may be named as well.

    Raises:
        UsageError: A layer is unknown.
    """
    if layers is not None:
        return select(model, [layers] if isinstance(layers, str) else layers, calls=calls)
    return proposed_layers(model, feature_layers)


def observe(
    model: nn.Module,
    task: Task,
    *,
    layers: str | Sequence[str] | None = None,
    split: Literal["train", "test"] = "train",
    samples: int | None = None,
    pool: Pools = "mean",
    axes: NamedLayouts = None,
    seed: int = 0,
) -> Observation:
    """Look at the features of `model` on a split of the task's data.

    A module that is called several times in one pass is looked at call by call, ``NAME[0]``, ``NAME[1]`` … Layers that
    nobody named and that cannot be measured are left out; `Observation.left_out` says why.

    Args:
        model: In evaluation mode.
        task: Data and loss.
        layers: Names, globs, ``NAME:input`` or ``NAME[0]``; None for the default.
        split: ``train`` or ``test``.
        samples: Look at that many samples, drawn without replacement; None for all.
        pool: How positions become neurons: ``mean``, those left out that the batch's mask says are padding; ``first``,
            ``last`` or ``class`` for one token; ``flatten`` for every position's; for all layers, or by layer or glob
            (``{"encoder.*": "last"}``).
        axes: Which axis is what, where it cannot be told: letters with N for the samples and C for the neurons, for
            all layers of as many axes (``"TNC"``), or by layer or glob (``{"encoder.*": "TNC"}``).
        seed: Seed of the draw.

    Raises:
        UsageError: A layer is unknown, a layout is named for none that is looked at, none of the layers proposed can be
            measured, or the task has no such split.
    """
    chosen = task.train if split == "train" else task.test
    if chosen is None:
        raise UsageError("the task has no test split; look at train")
    if samples is not None and samples < len(chosen):
        chosen = chosen.sample(samples, seed)
    check_layers(axes, [name for name, _ in model.named_modules() if name], type(model).__name__)
    wanted = layers_of(model, layers, calls=True)
    looked = Observation(model, chosen, task.loss, wanted, task.batch_size, pool, forward=task.forward, axes=axes)
    observation = looked.by_call(proposed=layers is None)
    if not observation.layers:
        raise UsageError(f"{left_out(observation)}; name the layers to look at")
    if axes and observation.unused_axes():
        raise UsageError(f"layout {observation.unused_axes()[0]}; leave it out")
    if observation.unused_pools():
        raise UsageError(f"pool {observation.unused_pools()[0]}; leave it out")
    return observation


def left_out(observation: Observation) -> str:
    """Return in a line which of the proposed layers cannot be looked at, and why; empty where there are none."""
    by_reason: dict[str, list[str]] = {}
    for layer, reason in observation.left_out.items():
        by_reason.setdefault(reason, []).append(layer)
    reasons = [f"{_listed(layers)} ({reason})" for reason, layers in by_reason.items()]
    return f"layers that cannot be looked at: {_listed(reasons)}" if reasons else ""


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])


def make_condition(
    name: str, options: Mapping[str, object] | None = None, *, seed: int = 0, progress: Progress = SILENT
) -> Condition:
    """Return the condition of that name with its options; raise `UsageError` when either is unknown."""
    kind = registry().condition(name)
    return kind(make_options(kind.Options, options or {}, name), seed=seed, progress=progress)


def check(
    checkpoint: nn.Module | str | os.PathLike[str],
    task: Task,
    condition: str,
    *,
    options: Mapping[str, object] | None = None,
    layers: str | Sequence[str] | None = None,
    split: Literal["train", "test"] = "train",
    samples: int | None = None,
    pool: Pools = "mean",
    axes: NamedLayouts = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[Verdict, ...]:
    """Check one condition, layer by layer.

    Args:
        checkpoint: A file, or a module on the task's device in evaluation mode.
        task: Model, data and loss.
        condition: Name of the condition.
        options: The condition's options by name.
        layers: See `observe`; so are `split`, `samples`, `pool` and `axes`.
        split: Split the features are computed on.
        samples: How many samples of it.
        pool: How positions become neurons.
        axes: Which axis is what.
        seed: Seed of every random choice.
        progress: Shows long work.

    Raises:
        InputError: The checkpoint cannot be used.
        UsageError: Unknown condition, option or layer.
    """
    method = make_condition(condition, options, seed=seed, progress=progress)
    model = checkpoint if isinstance(checkpoint, nn.Module) else load_model(checkpoint, task)
    observation = observe(model, task, layers=layers, split=split, samples=samples, pool=pool, axes=axes, seed=seed)
    if observation.left_out:
        warnings.warn(f"check: {left_out(observation)}", stacklevel=2)
    found = verdicts(method, observation, str(getattr(checkpoint, "name", checkpoint)))
    for remark in observation.remarks():
        warnings.warn(f"check: {remark}", stacklevel=2)
    return found


def _asked(condition: Condition, observation: Observation) -> Iterator[object]:
    """Yield what a condition gives; it ends nothing but itself."""
    doing = f"condition {condition.name}"
    with no_exit(doing):
        asked = iter(condition.check(observation))
    while True:
        with no_exit(doing):
            verdict = next(asked, _END)
        if verdict is _END:
            return
        yield verdict


def verdicts(
    condition: Condition, observation: Observation, checkpoint: str, *, strict: bool = False
) -> tuple[Verdict, ...]:
    """Run a condition and tell the plugins.

    What a condition raises, a refusal of the data included, ends it with an invalid verdict, after those it gave; the
    other conditions are still asked. Errors that say what was asked wrongly (`UsageError`), and a device's memory that
    ran out are raised.

    Args:
        condition: The condition.
        observation: What it looks at.
        checkpoint: The name that the plugins are told.
        strict: Raise all that fails.
    """
    found: list[Verdict] = []
    try:
        for verdict in _asked(condition, observation):
            if not isinstance(verdict, Verdict):
                raise TypeError(f"check() of {condition.name} gave a {type(verdict).__name__}, expected verdicts")
            found.append(verdict)
    except Exception as error:
        if strict or isinstance(error, (UsageError, torch.OutOfMemoryError)):
            raise
        found.append(Verdict.invalid(condition.name, None, one_line(error)))
    registry().notify("condition_checked", checkpoint=checkpoint, verdicts=tuple(found))
    return tuple(found)
