"""The flags that say what the checkpoints were trained for, and the task made of them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict, TypeVar, cast

import click

from connectivity_hooks.checkpoints import Checkpoint
from connectivity_hooks.cli.numbers import Count
from connectivity_hooks.cli.terminal import Display
from connectivity_hooks.errors import ConnectivityError, InputError, UsageError
from connectivity_hooks.facts import folder_facts, in_words, unlike
from connectivity_hooks.parallel import threads
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import Task, make_task
from connectivity_hooks.tasks.data.layout import AUTO, LAYOUTS
from connectivity_hooks.tasks.loss import AUTO as OWN_CHOICE
from connectivity_hooks.tasks.skeleton import check_size
from connectivity_hooks.untrusted import read_json

F = TypeVar("F", bound=Callable[..., object])

TASK_KEY = "connectivity_hooks.task"

# More threads than cores only wait for each other; some thousands are more than a process can have, and end it.
_MOST_THREADS = 4 * (os.cpu_count() or 1)


def _compute_with(ctx: click.Context, param: click.Parameter, value: str) -> None:
    """Compute with that many threads until the command ends."""
    count = None if value == "auto" else Count(1, _MOST_THREADS)(value, param, ctx)
    ctx.with_resource(threads(count))


_BASE = "connectivity_hooks.base"


def _keep_base(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Remember the base for `named_model`: it is a part of the model's name."""
    ctx.meta[_BASE] = value


class TaskFlags(TypedDict):
    """Values of the task flags, as parsed."""

    model: str | None
    data: str
    loss: str
    loss_is_convex: bool | None
    normalize: str | None
    image_size: int | None
    batch_size: int
    augment: str | None
    layout: str
    output: str | None
    device: str
    dtype: str


def _data(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "--data",
        metavar="SPEC",
        required=required,
        help="digits, X.npz or X.safetensors (x_train, y_train, x_test, y_test; x_train.NAME for several inputs), "
        "a folder of images or of datasets' save_to_disk, X.txt?block=N (read with the checkpoints' own tokenizer; "
        "&mask=0.15 for masked words), or FILE.py:callable returning train and test loaders of (inputs, targets), or "
        "of dicts with labels. After any of them ?train=N&test=N takes so many samples, drawn with &seed=.",
    )


_DATA = _data(required=True)
_DTYPE = click.option(
    "--dtype",
    default="float32",
    show_default=True,
    metavar="TYPE",
    help="float32, float64 or bfloat16 for weights and data.",
)

_FLAGS = {
    "model": click.option(
        "--model",
        metavar="SPEC",
        help="timm:NAME?arg=value, FILE.py:callable or package.module:callable. "
        "May be left out when the checkpoint names a model of an installed library.",
    ),
    "base": click.option(
        "--base",
        metavar="FOLDER",
        expose_value=False,
        callback=_keep_base,
        help="The base that adapters (PEFT) were trained on, where their folders do not name one that is here.",
    ),
    "data": _DATA,
    "layout": click.option(
        "--layout",
        type=click.Choice(list(LAYOUTS)),
        default=AUTO,
        show_default=True,
        help="Where the channels of an array file are. "
        + "; ".join(f"{name}: {does}" for name, does in LAYOUTS.items())
        + ".",
    ),
    "output": click.option(
        "--output",
        metavar="NAME|INDEX",
        help="The outputs among what the model returns; needed where it is not clear (logits, or the only floats).",
    ),
    "loss": click.option(
        "--loss",
        metavar="SPEC",
        default=OWN_CHOICE,
        show_default=True,
        help="cross-entropy, bce, mse, l1, huber, contrastive, own (what the model itself returns for labels), "
        "auto (what the model is seen to compute itself, else cross-entropy), or FILE.py:callable of (outputs, "
        "targets) that gives a value for each sample, or sums and weights.",
    ),
    "loss_is_convex": click.option(
        "--loss-is-convex/--loss-is-not-convex",
        default=None,
        help="Declare whether a loss of your own is convex in the outputs; a proven bound needs it.",
    ),
    "normalize": click.option(
        "--normalize", metavar="MEAN,STD", help="After scaling to [0,1]; per channel: m,m,m,s,s,s."
    ),
    "image_size": click.option(
        "--image-size", type=Count(1), metavar="N", help="Resize the images of a folder to N×N."
    ),
    "batch_size": click.option(
        "--batch-size",
        type=Count(1),
        default=512,
        show_default=True,
        metavar="N",
        help="Samples of one forward pass.",
    ),
    "device": click.option(
        "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1 …"
    ),
    "dtype": _DTYPE,
    "threads": click.option(
        "--threads",
        default="auto",
        show_default=True,
        metavar="N",
        expose_value=False,
        callback=_compute_with,
        help="Threads of the processor; auto: at most PyTorch's own number, for small networks as many as a short "
        "trial finds fastest.",
    ),
}


def task_options(function: F) -> F:
    """Declare the task flags."""
    return _with(function, _FLAGS)


def optional_task_options(function: F) -> F:
    """Declare the task flags of a command that needs data for some of its work alone, and whose --dtype is its own."""
    return _with(function, {**_FLAGS, "data": _data(required=False)}, without=("dtype",))


def structure_options(function: F) -> F:
    """Declare the task flags of a command that looks at a model alone, and at data for what the model is run on."""
    unused = ("model", "loss_is_convex", "batch_size", "device", "dtype")
    return _with(function, {**_FLAGS, "data": _data(required=False)}, without=unused)


def _with(function: F, flags: Mapping[str, Callable[[F], F]], without: Collection[str] = ()) -> F:
    for name in reversed(list(flags)):
        function = function if name in without else flags[name](function)
    return function


def augment_option(function: F) -> F:
    """Declare the augmentation, for commands that can train."""
    return click.option(
        "--augment",
        metavar="SPEC",
        help="Augmentation for what builders train; nothing measured is augmented. flip, crop, crop-flip, or "
        "FILE.py:callable that makes a function of a batch of inputs.",
    )(function)


def task_flags(given: Mapping[str, Any]) -> TaskFlags:
    """Return the task flags among all that were given; without `augment_option` there is no augmentation."""
    return cast(TaskFlags, {key: {"augment": None, **given}[key] for key in TaskFlags.__annotations__})


def task_of(flags: TaskFlags, checkpoints: list[Checkpoint], files: list[str]) -> Task:
    """Make the task; without ``--model`` from what the checkpoints say of themselves.

    Raises:
        InputError: The data or the model cannot be used.
        UsageError: A name is unknown, or no model is known.
    """
    values: dict[str, Any] = dict(flags)
    values["model"] = named_model(flags["model"], checkpoints, files)
    task = make_task(**values, checkpoints=checkpoints)
    if flags["model"] is not None:
        task = task.on(task.train, task.test, [*task.notes, *_other_models(task, checkpoints)])
    display = Display(quiet=bool(click.get_current_context().params.get("as_json")))
    for note in task.notes:
        display.say(note)
    return task


def _other_models(task: Task, checkpoints: list[Checkpoint]) -> list[str]:
    """Say of which checkpoints the folder says another model than the one that is given for them."""
    notes = []
    for checkpoint in checkpoints:
        folder = checkpoint.file.parent
        own = folder_facts(folder, given_base()) if task.facts() and _can_be_made(folder, checkpoint) else {}
        found = unlike(own, task.facts()) if own else {}
        if found:
            words = in_words(found, "there", "in --model")
            notes.append(f"{folder.name}: is of another model, and is read as that of --model: {words}")
    return notes


def _can_be_made(folder: pathlib.Path, checkpoint: Checkpoint) -> bool:
    """Say whether a folder's model is of the checkpoint's size; its configuration may be anybody's, and ask for any."""
    try:
        name = _of_folder(folder)
        if name is not None:
            check_size(named_model(name, [], []), [checkpoint])  # with the base
    except ConnectivityError:
        return False
    return name is not None


def given_base() -> str | None:
    """Return what ``--base`` names; None where it is not given."""
    base: str | None = click.get_current_context().meta.get(_BASE)
    return base


def named_model(model: str | None, checkpoints: list[Checkpoint], files: list[str]) -> str:
    """Return the model that is meant: the one given, else what checkpoints name; with ``--base``, where it is given.

    Raises:
        InputError: The checkpoints are of different models.
        UsageError: No model is known, or ``--base`` is given for one that has no base.
    """
    name = model or model_of(checkpoints, files)
    base = given_base()
    if base is None:
        return name
    adapter = registry().adapters.get(name.partition(":")[0])
    if adapter is None or not adapter.cls.takes_base:
        raise UsageError(f"--base is for adapters on a base, and the model is {name}; leave it out")
    if "&" in base:
        raise UsageError(f"--base {base}: a folder of this name cannot be named in a model; rename it")
    return f"{name}{'&' if '?' in name else '?'}base={base}"


def model_of(checkpoints: list[Checkpoint], files: list[str]) -> str:
    """Return the model that checkpoints name, in their headers or by the folders they lie in.

    Raises:
        InputError: They are of different models.
        UsageError: None names one, or it is code or of no installed library.
    """
    named = [_named(checkpoint, file) for checkpoint, file in zip(checkpoints, files, strict=True)]
    known = list(dict.fromkeys(filter(None, named)))
    if not known:
        _refuse_unnamed(files)
        raise UsageError("--model is needed: no checkpoint names its model")
    prefixes = {name.partition(":")[0] for name in known}
    adapter = registry().adapters.get(prefixes.pop()) if len(prefixes) == 1 else None
    for other in known[1:]:
        unlike = f"they name {known[0]} and {other}" if adapter is None else adapter.cls().difference(known[0], other)
        if unlike is not None:
            raise InputError(f"the checkpoints are of different models: {unlike}; say --model")
    return known[0]


def _named(checkpoint: Checkpoint, file: str) -> str | None:
    """Return the model a checkpoint names; only an installed adapter may be named, code is never imported for it."""
    spec = checkpoint.metadata.get(TASK_KEY)
    if spec is not None:
        prefix = spec.partition(":")[0]
        if prefix not in registry().adapters:
            raise UsageError(f"{file}: names the model {spec!r}, which is code or of no installed library; say --model")
        return spec
    return _of_folder(pathlib.Path(file) if pathlib.Path(file).is_dir() else pathlib.Path(file).parent)


def _of_folder(folder: pathlib.Path) -> str | None:
    models = [entry.cls().model_of(folder) for entry in registry().adapters.values()]
    return next((model for model in models if model), None)


def _refuse_unnamed(files: list[str]) -> None:
    """Say of a checkpoint folder why it names no model; raise `InputError`."""
    for folder in filter(pathlib.Path.is_dir, map(pathlib.Path, files)):
        config = folder / "config.json"
        if not config.exists():
            raise InputError(f"{folder}: has no config.json that names a model; say --model")
        read_json(config, "a model's configuration", "say --model")
        raise InputError(f"{config}: names no model of an installed library; say --model")
