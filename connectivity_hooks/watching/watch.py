"""`watch`: putting the parts together from what a user says."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation.measuring import make_correction
from connectivity_hooks.features.layout import NamedLayouts, check_layers
from connectivity_hooks.features.pooling import Pooling, Pools
from connectivity_hooks.model.outputs import Pick
from connectivity_hooks.model.running import Forward
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.tasks.loss import AUTO, Loss, resolve_loss
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.watching.averages import BATCH_NORM, Averages, LineToAverages, inside, named
from connectivity_hooks.watching.conditions import Conditions, make_conditions
from connectivity_hooks.watching.faults import Faults
from connectivity_hooks.watching.handle import Watch
from connectivity_hooks.watching.loggers import loggers
from connectivity_hooks.watching.looks import Kept, Look, ProbeLook, TrainingLook
from connectivity_hooks.watching.probe import Probe, read_probe
from connectivity_hooks.watching.saving import Saver
from connectivity_hooks.watching.schedule import Every, parse_schedule
from connectivity_hooks.watching.undisturbed import random_states_kept

Mode = Literal["probe", "training"]

_NOTHING_ASKED = (
    "watch: no condition is named and no installed plugin proposes one: steps are counted and checkpoints saved, and "
    "nothing is checked"
)


def watch(
    model: nn.Module,
    probe: Probe | None = None,
    *,
    every: Every = "1 %",
    conditions: Conditions = None,
    log: Any = None,
    mode: Mode = "probe",
    layers: str | Sequence[str] | None = None,
    loss: str | Loss | None = None,
    samples: int = 1024,
    batch_size: int = 256,
    pool: Pools = "mean",
    axes: NamedLayouts = None,
    output: Pick = None,
    seed: int = 0,
    ema: nn.Module | None = None,
    averages: Averages | None = None,
    correct: str | Correction | None = None,
    capture_every: int = 10,
    out: str | os.PathLike[str] | None = None,
    save: str | os.PathLike[str] | None = None,
    save_every: Every | None = None,
    on_change: Literal["save"] | None = None,
    task: str | None = None,
    at_start: bool = False,
    at_end: bool = True,
    strict: bool = False,
) -> Watch:
    """Check conditions on the features of `model` while it trains, without changing the training by one bit.

    In mode ``probe`` each check runs the unwrapped, uncompiled module on probe data, in evaluation mode and without
    gradients; training flags, buffers, random states, autocast and gradient modes are left as they were. In mode
    ``training`` the features are those of the training's own forward passes.

    Args:
        model: As it is trained: plain, compiled, or inside DistributedDataParallel.
        probe: A `Task` (its training split), a `Split`, a data set, a loader or another iterable of (inputs, targets),
            or a pair of tensors. Inputs are a tensor, a tuple of arguments or a dict of named ones; a batch may be a
            dict with ``labels``. Read once, `samples` of it, and held.
        every: When to check: optimizer steps (``500``), ``"2 epochs"``, ``"30 s"``, ``"10 min"``, a list of steps, or
            ``"1 %"``: at the first step, and then as often as costs that share of the training's time.
        conditions: Name, names or `Condition` instances, or a mapping from name to options. None takes what installed
            plugins propose for it (`Condition.watched`; ``connectivity-hooks plugins`` names them), which may be none;
            with `averages`, ``[]`` asks for nothing else.
        log: Where figures go: a function of (scalars, step), an object with ``log_dict``, ``log_metrics``, ``log`` or
            ``add_scalar``, or a list of them (`connectivity_hooks.watching.loggers.loggers`).
        mode: ``probe`` or ``training``.
        layers: Names, globs or ``NAME:input``; None for what `connectivity_hooks.check` takes.
        loss: The training's loss, by name or as a `Loss`; None for the task's, else what
            the model itself computes of labels, see `settle_loss`, else cross-entropy.
        samples: N. Of a probe, as many are drawn; of 1024 a share is known within 3 % (95 %). In mode ``training`` as
            many are kept from one check to the next, which bounds the memory, and a check that is due waits for them.
        batch_size: Samples of one probe forward at most; it takes its memory beside the training's.
        pool: How positions (pixels, tokens) become neurons: ``mean``, ``flatten``, or one token, ``first``, ``last`` or
            ``class``; for all layers or by layer, ``{"encoder.*": "last"}``. What the batch's mask says is padding is
            left out.
        axes: Of a probe: which axis of a layer is what, where it cannot be told, see `check`.
        output: Of a probe: name or index of the outputs among what the model returns; a `Task` says it itself.
        seed: Seed of every random choice, the same at every check.
        ema: Look at, and save, this average of the weights instead of `model`.
        averages: Averages of the weights (an `AveragedModel`, timm's `ModelEmaV3`, a module), one or several by name:
            each check also tells whether the straight line from the trained weights to each is free of a barrier, for 5
            passes over the probe each, and the summary from which step on (`LineToAverages`). `ema` may be one of them.
        correct: Of `averages`: name of a correction of the weights at each t of the line, such as ``batch-norm``.
        capture_every: In mode ``training``: listen to the passes of one optimizer step in so many, which divides
            what the hooks cost.
        out: Folder for history.jsonl, history.csv and, at the end, summary.txt, watch.svg and watch.png.
        save: Folder for checkpoints ``step_00000500.safetensors``: at every check, unless `save_every` or `on_change`
            say otherwise.
        save_every: A schedule for checkpoints, as `every`.
        on_change: ``"save"``: write a checkpoint when a verdict is another than at the check before.
        task: How the model is made, e.g. ``timm:resnet18``; for the checkpoints' headers.
        at_start: Check once before the first step, when the ``with`` block begins.
        at_end: Check once more at the end, when the last step was not checked.
        strict: Raise what goes wrong, instead of a warning and a verdict that is invalid.

    Returns:
        The `Watch`: call its `step` after every optimizer step, and use it in a ``with`` block or `close` it.

    Raises:
        InputError: The probe gives no samples, or no pairs.
        UsageError: A name, an option, a schedule or a logger is unknown, or two arguments do not go together.
    """
    _check_arguments(mode, probe, ema, at_start=at_start, numbers=(samples, batch_size, capture_every))
    _check_saving(save, save_every, on_change)
    _check_averages(mode, averages, correct)
    if mode == "training" and (axes is not None or output is not None):
        raise UsageError("watch: axes= and output= are for a probe; leave them out in mode 'training'")
    line = None
    if averages is not None:
        line = LineToAverages(model, named(averages), make_correction(correct, seed=seed), seed=seed)
    alone = line is not None and isinstance(conditions, (list, tuple)) and not conditions
    asked = (*(() if alone else make_conditions(conditions, seed)), *([] if line is None else [line]))
    schedule, sinks = parse_schedule(every), loggers(log)
    if not asked:
        warnings.warn(_NOTHING_ASKED, stacklevel=2)
    if line is not None and line.lacks_statistics and is_main_process():
        warnings.warn(BATCH_NORM.format(type(unwrapped(model)).__name__), stacklevel=2)
    criterion = _loss(loss, probe)
    looked_at = model if ema is None else inside(ema)
    modules = unwrapped(looked_at)
    check_layers(axes, [name for name, _ in modules.named_modules() if name], type(modules).__name__)
    Pooling(modules, pool)  # a misspelt name is said now, not at the first check
    weights = "model" if ema is None else "ema"
    look: Look | None = None
    if is_main_process() and probe is not None:
        with random_states_kept(model):
            split = read_probe(probe, samples, seed)
        forward = probe.forward if isinstance(probe, Task) else Forward(output)
        look = ProbeLook(
            looked_at, split, criterion, layers, batch_size=batch_size, pool=pool, forward=forward, axes=axes
        )
    elif is_main_process():
        kept = Kept(every=capture_every, samples=samples, pool=pool, seed=seed, strict=strict)
        look = TrainingLook(model, criterion, layers, kept)
    saver = None
    if save is not None:
        name = task or (probe.model_name if isinstance(probe, Task) else "") or None
        when = None if save_every is None else parse_schedule(save_every)
        saver = Saver(save, unwrapped(looked_at), weights, schedule=when, on_change=on_change == "save", task=name)
    return Watch(
        look,
        asked,
        schedule,
        weights=weights,
        sinks=sinks,
        folder=None if out is None else pathlib.Path(out),
        saver=saver,
        faults=Faults(strict=strict),
        at_start=at_start,
        at_end=at_end,
    )


def _check_arguments(mode: str, probe: object, ema: object, *, at_start: bool, numbers: tuple[int, int, int]) -> None:
    if mode not in ("probe", "training"):
        raise UsageError(f"watch: expected mode 'probe' or 'training', found {mode!r}")
    if mode == "probe" and probe is None:
        raise UsageError("watch: mode 'probe' needs probe=, data to run the model on; or take mode='training'")
    if mode == "training" and (probe is not None or ema is not None):
        raise UsageError("watch: mode 'training' looks at the model's own passes; leave probe= and ema= out")
    if mode == "training" and at_start:
        raise UsageError("watch: at_start= needs a probe: in mode 'training' nothing has passed before the first step")
    if min(numbers) < 1:
        found = ", ".join(str(number) for number in numbers)
        raise UsageError(f"watch: expected samples, batch_size and capture_every ≥ 1, found {found}")


def _check_averages(mode: str, averages: object, correct: object) -> None:
    if averages is None and correct is not None:
        raise UsageError("watch: correct= is for the line from the trained weights to averages=; leave it out")
    if averages is not None and mode == "training":
        raise UsageError("watch: averages= needs a probe; mode 'training' looks at the model's own passes")


def _check_saving(save: object, save_every: object, on_change: object) -> None:
    if on_change not in (None, "save"):
        raise UsageError(f"watch: expected on_change 'save' or None, found {on_change!r}")
    if save is None and (save_every is not None or on_change is not None):
        raise UsageError("watch: save_every= and on_change= need save=, the folder for checkpoints")


def _loss(loss: str | Loss | None, probe: object) -> Loss:
    if isinstance(loss, Loss):
        return loss
    if loss is not None:
        return resolve_loss(loss)
    return probe.loss if isinstance(probe, Task) else resolve_loss(AUTO)
