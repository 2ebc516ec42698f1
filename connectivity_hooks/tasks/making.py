"""Making a task of what a user types, and checking that its parts fit together before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints import Checkpoint
from connectivity_hooks.errors import InputError, UsageError, near_matches, one_line
from connectivity_hooks.model.batches import ITS_OWN, LABELS, RETURN_LOSS, TOKENS
from connectivity_hooks.model.inputs import Inputs, named_tensors, placed, shapes_of
from connectivity_hooks.model.outputs import choice, picked
from connectivity_hooks.model.running import Forward, forward
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.arguments import misfit, names_argument, unnamed
from connectivity_hooks.tasks.asked import OWN
from connectivity_hooks.tasks.augmenting import check_augment, resolve_augment
from connectivity_hooks.tasks.data.layout import AUTO
from connectivity_hooks.tasks.data.loading import Placement, load_data, note_of_own_targets
from connectivity_hooks.tasks.loss import AUTO as AUTO_LOSS
from connectivity_hooks.tasks.loss import CONTRASTIVE, MODELS_OWN, Loss, is_models_own, resolve_loss
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.tasks.needed_labels import needs_labels
from connectivity_hooks.tasks.own_loss import settle_loss
from connectivity_hooks.tasks.skeleton import check_size
from connectivity_hooks.tasks.split import CachedSplit
from connectivity_hooks.tasks.task import ModelFactory, Task
from connectivity_hooks.tasks.telling import telling

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}

_SHARE_OF_MEMORY = 0.25  # of what is free: two splits, the model and its passes have to fit beside each other
_NO_DATA = CachedSplit("train", torch.zeros(1), torch.zeros(1))
"""Of a task before its data is read, of which only the model is asked."""


def make_task(
    *,
    model: str | ModelFactory,
    data: object,
    loss: str = AUTO_LOSS,
    loss_is_convex: bool | None = None,
    normalize: str | None = None,
    image_size: int | None = None,
    batch_size: int = 512,
    augment: str | None = None,
    layout: str = AUTO,
    output: str | int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    checkpoints: Sequence[Checkpoint] = (),
) -> Task:
    """Make a task and check it on a few samples.

    Args:
        model: ``timm:NAME?arg=value``, ``FILE.py:callable`` or ``package.module:callable``; or a function or a class
            that makes a new module each time.
        data: ``digits``, a ``.npz`` or ``.safetensors`` file, a folder of images or of ``datasets``,
            ``TEXT.txt?block=N``, or ``FILE.py:callable``, each with ``?train=N&test=N``; or what such a callable
            returns: a pair of a training and a test loader, data set or split, a dict of both, one alone, or a function
            that returns them. Held in memory, on the device, where each split takes at most a quarter of what is free
            there; else gone through at every pass.
        loss: ``cross-entropy``, ``bce``, ``mse``, ``l1``, ``huber``, ``contrastive`` (of pairs, over the samples of a
            batch), ``own`` (what the model itself returns for labels), or ``FILE.py:callable``; ``auto`` takes of these
            what the model is seen to compute itself, and cross-entropy where it computes none.
        loss_is_convex: Declares a loss of your own convex in the outputs, or not.
        normalize: ``mean,std`` after scaling to [0, 1], or per channel.
        image_size: Size of a folder's images.
        batch_size: Samples of one forward pass.
        augment: ``flip``, ``crop``, ``crop-flip``, or ``FILE.py:callable`` that makes a function of a batch of inputs;
            used where sub-networks and hubs are trained.
        layout: Where the channels of a file's arrays are: ``channels-first``, ``channels-last``, ``gray``, ``as-is``,
            or ``auto``, which asks the model; the task's notes say what was done.
        output: Name or index of the outputs among what the model returns; None takes what can only be meant.
        device: ``auto``, ``cpu``, ``cuda`` …
        dtype: ``float32``, ``float64`` or ``bfloat16``.
        checkpoints: What the model is for: names and shapes of a library's model are compared with theirs before it is
            made and before any data is read; texts are read with the tokenizer in their folders.

    Raises:
        InputError: Model, data and loss do not fit together, or one of them cannot be used; or the model is not that of
            a checkpoint, or larger than memory.
        UsageError: A name is unknown.
    """
    where = _device(device)
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}; {near_matches(dtype, DTYPES)}")
    augmentation = resolve_augment(augment)
    criterion, factory = resolve_loss(loss, loss_is_convex), model_factory(model)
    named = model if isinstance(model, str) else ""
    if named:
        check_size(named, checkpoints)
    run = _forward(criterion, output)
    task = Task(factory, _NO_DATA, None, criterion, where, DTYPES[dtype], batch_size, augmentation, run)
    task = replace(task, model_name=named, data_name=_typed(data), augment_name=augment or "")
    said: list[str] = []
    splits = load_data(
        data,
        Placement(where, DTYPES[dtype], _cache_limit(where)),
        normalize=normalize,
        image_size=image_size,
        loss=criterion.name,
        layout=layout,
        takes=partial(_takes, task),
        model=task.structure,
        tokenizers=[each.file if each.file.is_dir() else each.file.parent for each in checkpoints],
        say=said.append,
    )
    task = with_needed_labels(task.on(*splits, said))
    task = check_task(task, task.structure())
    if augmentation is not None:
        check_augment(augmentation, next(iter(task.train.head(4).batches(4)))[0], str(augment))
    return task


def _typed(data: object) -> str:
    """Return the data as somebody types it; empty for loaders and functions from code, which have no name."""
    return str(data) if isinstance(data, (str, os.PathLike)) else ""


def _takes(task: Task, inputs: Inputs) -> bool:
    """Say whether the model can be run on inputs; a module that failed is not used again."""
    try:
        picked(_returned(task.structure(), placed(inputs, task.device, task.dtype), task), task.forward.pick)
    except InputError:
        task.blank()  # a pass that ended early may have left anything behind in it
        return False
    return True


def with_needed_labels(task: Task) -> Task:
    """Return the task; where its model cannot be run without its targets, they are passed to it as ``labels`` too.

    See `needs_labels`; where the model fails with them too, what it lacks without is said when the task is checked.
    """
    few = next(iter(task.train.head(2).batches(2)))
    if is_models_own(task.loss):
        _require_names(task, few[0])
        if not names_argument(task.structure(), LABELS):
            return task
        return task.on(task.train.labelled(), None if task.test is None else task.test.labelled(), task.notes)
    if not needs_labels(task.structure(), few, partial(_takes, task)):
        return task
    train, test = task.train.labelled(), None if task.test is None else task.test.labelled()
    return task.on(train, test, [*task.notes, f"the model needs {LABELS!r}: it is given the targets too"])


def _forward(loss: Loss, output: str | int | None) -> Forward:
    if not is_models_own(loss):
        return Forward(output)
    if output is not None:
        raise UsageError(f"loss {MODELS_OWN} is an output of the model itself; leave output= (--output) out")
    return Forward(OWN, scalar=True)


def _require_names(task: Task, inputs: Inputs) -> None:
    """Refuse a loss of the model's own where the model cannot be given labels."""
    model, name = task.structure(), task.model_name or type(task.structure()).__name__
    asked = isinstance(inputs, Mapping) and inputs.get(RETURN_LOSS) is True
    if not names_argument(model, LABELS) and not (asked and names_argument(model, RETURN_LOSS)):
        way = (
            f"put {RETURN_LOSS!r}: True into the batches"
            if names_argument(model, RETURN_LOSS)
            else f"name another loss= (--loss), or wrap it in a model that takes {LABELS!r}, see docs/data.md"
        )
        raise InputError(f"loss {MODELS_OWN}: {name} takes no {LABELS!r}, for which it could return a loss; {way}")
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"loss {MODELS_OWN}: {LABELS!r} are given to the model by name, so the inputs need names too; let the "
            "loader give a dict"
        )


def check_task(task: Task, model: nn.Module) -> Task:
    """Run a few samples of every split, see `telling`, and check what comes out against the loss.

    Returns:
        The task with a loss that reads all targets as it reads these, and with notes on how that is.

    Raises:
        InputError: Inputs do not fit the model, outputs do not fit the loss, or labels are out of range.
    """
    notes, own = dict.fromkeys(task.notes), note_of_own_targets(task.data_name or "data")
    for split in task.splits():
        few = telling(split)
        inputs, targets = next(iter(few.batches(len(few))))
        returned = _returned(model, inputs, task)
        outputs = task.forward.outputs(returned, inputs)
        where = f"{task.data_name or 'data'}: {split.name}"
        where += f" ({ITS_OWN})" if own in notes else ""
        loss, more = settle_loss(
            model, task.loss, (inputs, targets), outputs, split.targets(), where, forward=task.forward
        )
        task = task.read_as(loss)
        with guarded_call(f"loss {task.loss.name}: fails on a few samples"):
            terms = task.loss.terms(outputs, targets)
        if bool(outputs.isfinite().all()) and bool(terms.sums.isnan().any()):
            raise InputError(f"loss {task.loss.name}: is NaN for finite outputs of a few samples; mend it")
        notes |= dict.fromkeys(filter(None, [choice(returned, task.forward.pick), *more]))
    return task.read_as(task.loss, tuple(_said(task, model, inputs, notes, own)))


def _said(task: Task, model: nn.Module, inputs: Inputs, notes: Iterable[str], own: str) -> Iterator[str]:
    """Yield the notes, with what a batch's tokens are taken for where no labels are given, and how batches are fixed.

    Raises:
        InputError: No labels are given, and the model is no language model whose labels are the tokens.
    """
    tokens = isinstance(inputs, Mapping) and TOKENS in inputs
    for note in notes:
        if note == own and tokens:
            yield from _of_tokens(task, model, inputs)
        else:
            yield note
    if task.loss.coupled:
        yield (
            f"loss {task.loss.name} is of whole batches: they are those of the data's order, of {task.batch_size} "
            "samples at most, and figures of other batches (--batch-size) are others; trainings draw their own"
        )


def _of_tokens(task: Task, model: nn.Module, inputs: Inputs) -> Iterator[str]:
    where, reading = task.data_name or "data", task.loss.reading
    if reading is not None and reading.shifted:
        yield f"{where}: no {LABELS!r} are given, so they are the tokens, of which padding does not count"
    elif task.loss.coupled and (task.loss.name == CONTRASTIVE.name or inputs.get(RETURN_LOSS) is True):
        yield f"{where}: no {LABELS!r} are given, and none are needed"
    elif names_argument(model, LABELS) or len(dict(named_tensors(inputs))) > 1:
        raise InputError(
            f"{where}: batches have no {LABELS!r}, and {task.model_name or type(model).__name__} is not seen to predict"
            f" the next token, for which the tokens themselves would do; give batches with {LABELS!r}, or (inputs, "
            "targets)"
        )
    else:
        yield note_of_own_targets(where)


def _returned(model: nn.Module, inputs: Inputs, task: Task) -> Any:
    name = task.model_name or type(model).__name__
    unfit = f"{task.data_name or 'data'}: inputs of shape {shapes_of(inputs)} do not fit the model {name}"
    if (
        task.data_name.partition("?")[0].endswith((".npz", ".safetensors"))
        and isinstance(inputs, Tensor)
        and inputs.ndim > 2
    ):
        unfit += "; layout= (--layout) says where an array has its channels"
    whole = {str(t.dtype).removeprefix("torch.") for _, t in named_tensors(inputs) if not t.is_floating_point()}
    strange = unnamed(model, inputs)
    if strange:
        unfit += f" ({strange})"
    elif "block=" in task.data_name.partition("?")[2]:
        unfit += "; where a block is longer than the model's positions, give a smaller ?block="
    elif whole:
        unfit += f" (they are of type {' and '.join(sorted(whole))}: store as float32 what the model computes with)"
    words = misfit(model, inputs)
    if words:
        raise InputError(f"{unfit}: {words}")
    with torch.no_grad(), torch.random.fork_rng(), guarded_call(unfit):
        return forward(model, inputs)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise ValueError("its tensors have no values")
    except Exception as error:  # every backend has its own way to say no
        raise UsageError(
            f"--device {name}: cannot be used here ({one_line(error, 120)}); try auto, cpu or cuda"
        ) from None
    return device


def _cache_limit(device: torch.device) -> int:
    if device.type == "cuda":
        return math.floor(torch.cuda.mem_get_info(device)[0] * _SHARE_OF_MEMORY)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return math.floor(free * _SHARE_OF_MEMORY)
