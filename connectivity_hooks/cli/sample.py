"""``connectivity-hooks sample PATH -t 0.5 -o FILE``: the weights at one point of a path, as a checkpoint."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
import torch
from torch import nn

from connectivity_hooks.checkpoints import Checkpoint, read, write_tensors
from connectivity_hooks.checkpoints.atomic import require_other
from connectivity_hooks.checkpoints.like import require_function, require_new, write_like
from connectivity_hooks.cli.measuring_options import correct_option, correction_of
from connectivity_hooks.cli.method_options import method_command, refuse_stray_options, single
from connectivity_hooks.cli.numbers import Amount, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.task_options import named_model, optional_task_options, task_flags, task_of
from connectivity_hooks.cli.terminal import Display
from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.evaluation.measuring import name_of, options_of
from connectivity_hooks.evaluation.sampling import computing_type, corrected_sample, sampled
from connectivity_hooks.facts import other_model
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks.models import model_factory

TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@click.command(cls=method_command("corrections"), context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="PATH")
@click.option(
    "-t",
    "position",
    type=Amount(0, 1),
    required=True,
    metavar="T",
    help="Where on the path: 0 is the first checkpoint, 1 the second.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="FILE|DIR",
    help="The safetensors file to write; with --like also a new folder.",
)
@click.option(
    "--like",
    metavar="CHECKPOINT",
    help="A checkpoint to write one like: its library's names and order of tensors and, where -o names a folder, "
    "configuration and tokenizer beside them, as save_pretrained and save_for_hf write them.",
)
@click.option(
    "--dtype",
    type=click.Choice(list(TYPES)),
    help="Floating type to store. Left out, that of the "
    "checkpoint of --like if it holds every value, else the path's own.",
)
@correct_option()
@optional_task_options
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(path: str, position: float, out: pathlib.Path, like: str | None, dtype: str | None, **given: Any) -> None:
    """Write the weights at T on the path file PATH as a checkpoint.

    The file has the model's own names: load_state_dict takes it, and timm.create_model(..., checkpoint_path=FILE).
    With --like run1/checkpoint-500 -o DIR, DIR is a folder that from_pretrained takes.
    Batch-norm statistics are the path's own unless a correction measures them, for which --model and --data are
    needed; the vectors of spectral norms are computed from the weights at T.
    """
    display = Display()
    correction = _correction(given, display)
    require_other(pathlib.Path(path), out)
    form = _form(like, out, given["model"])
    loaded = Path.load(path)
    if form is not None:
        _require_function(out, form, loaded, display)
    weights = sampled(loaded, position) if correction is None else _corrected(loaded, position, correction, given)
    if dtype is not None:
        weights = {name: w.to(TYPES[dtype]) if w.is_floating_point() else w for name, w in weights.items()}
    origin = {"path": pathlib.Path(path).name, "builder": loaded.builder, "t": position}
    if correction is not None:
        origin |= {"correction": name_of(correction), "correction_options": options_of(correction)}
    metadata = {"format": "pt", "connectivity_hooks.sample": json.dumps(origin)}
    if form is None:
        write_tensors(out, weights, metadata)
    else:
        write_like(out, weights, form.like, form.model, metadata, narrow=dtype is None)
    by = "" if correction is None else f", corrected by {correction.name}"
    display.say(f"{out}: the weights at t = {position:g} of {pathlib.Path(path).name}{by}")


class _Form(NamedTuple):
    """A checkpoint to write one like, its model, and what that is named."""

    like: Checkpoint
    model: nn.Module
    name: str


def _form(like: str | None, out: pathlib.Path, model: str | None) -> _Form | None:
    """Return what is written like; None where a plain file is written."""
    if like is None:
        return None
    if out.suffix != ".safetensors":
        require_new(out)
    checkpoint = read(like)
    name = named_model(model, [checkpoint], [like])
    return _Form(checkpoint, model_factory(name)(), name)


def _require_function(out: pathlib.Path, form: _Form, path: Path, display: Display) -> None:
    """Refuse a folder that would be of another function than the path; say where that cannot be told."""
    compared = require_function(out, form.like, path.facts, form.name)
    if not compared and out.suffix != ".safetensors":
        folder = form.like.file.parent.name
        display.say(f"{out}: has the configuration of {folder}; whether the path is of it is not known")


def _correction(given: Mapping[str, Any], display: Display) -> Correction | None:
    """Make the correction, before any file is opened; flags that it alone would need are refused without one."""
    correction = correction_of(given, display)
    refuse_stray_options(given, single(given["correct"]))
    stray = [flag for flag in ("model", "data") if given[flag] is not None]
    if correction is None and stray:
        raise UsageError(f"--{stray[0]} is given, but nothing is measured; say --correct NAME, or leave it out")
    if correction is not None and given["data"] is None:
        raise UsageError(f"--correct {correction.name} measures: say --data, and --model")
    return correction


def _corrected(path: Path, t: float, correction: Correction, given: Mapping[str, Any]) -> Weights:
    dtype = str(computing_type(path)).removeprefix("torch.")
    task = task_of(task_flags({**given, "dtype": dtype}), [], [])
    another = other_model(path, task.facts())
    if another is not None:
        raise InputError(f"--correct {correction.name}: {another}; say --model as it was measured")
    return corrected_sample(path, t, task, correction)
