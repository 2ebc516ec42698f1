"""``connectivity-hooks symmetries --model SPEC``: what may be done to the neurons of a model, and what stays."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import torch
from click.core import ParameterSource

from connectivity_hooks.checkpoints import atomic_text
from connectivity_hooks.cli.example_inputs import described, example_inputs, input_options
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.numbers import Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.task_options import structure_options, task_flags, task_of
from connectivity_hooks.cli.terminal import NOT_MET, Display, plain, print_json
from connectivity_hooks.errors import UsageError
from connectivity_hooks.json_values import finite
from connectivity_hooks.memory import require_memory
from connectivity_hooks.model import Inputs, taken
from connectivity_hooks.model.running import Forward
from connectivity_hooks.reports.plots import as_svg
from connectivity_hooks.reports.symmetries import SymmetriesReport
from connectivity_hooks.reports.symmetries_picture import symmetries_figure
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.structure import first_inputs, measured, read_program, read_symmetries
from connectivity_hooks.structure.symmetries.checking import TOLERANCE
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.tasks.skeleton import check_size

EXAMPLES = """
\b
Examples:
  connectivity-hooks symmetries --model timm:resnet18
  connectivity-hooks symmetries --model net.py:make --input-shape 3,32,32 --out symmetries
  connectivity-hooks symmetries --model gpt.py:make --input-shape 16 --input-type tokens:97 --json
"""

_SAMPLES = 2
"""One alone would not tell a batch axis from another of length 1."""

_COPIES, _WIDE = 6, 8
"""Copies of the weights in float64 that are there at once, as measured on a ViT-B, and bytes of a number."""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--model",
    metavar="SPEC",
    required=True,
    help="timm:NAME?arg=value, FILE.py:callable or package.module:callable.",
)
@structure_options
@input_options
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), metavar="DIR", help="Write symmetries.json and symmetries.svg."
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(out: pathlib.Path | None, as_json: bool, seed: int, **given: Any) -> int:
    """Say what may be done to the neurons of a model without changing its function, and which stay where they are.

    Derived from its operations, measured by derivatives and random elements in float64 on random weights; where both
    disagree, the smaller group is used. Groups: S permutations, S± with signs, Mon₊ with positive factors, Mon with
    both, O rotations, O₁ rotations around the vector of ones, GL any invertible matrix; inside heads for each by
    itself. Exits with status 4 where what is left deviates in float64.
    """
    display = Display(quiet=as_json)
    if out is None:
        report = _report(given, seed, display)
    else:
        with OutputFolder(out) as folder:
            report = _report(given, seed, display)
            atomic_text(folder.path / "symmetries.json", _json(report))
            atomic_text(folder.path / "symmetries.svg", as_svg(symmetries_figure(report)))
    if as_json:
        print_json(finite(report.as_json()))
    else:
        click.echo("\n".join(plain(line) for line in report.table().splitlines()))
    return 0 if report.measured.deviation <= TOLERANCE else NOT_MET


def _json(report: SymmetriesReport) -> str:
    return json.dumps(finite(report.as_json()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _report(given: Mapping[str, Any], seed: int, display: Display) -> SymmetriesReport:
    seconds: dict[str, float] = {}
    task, inputs = _subject(given)
    model = task.blank()
    with _timed("reading", seconds):
        program = read_program(model, inputs, task.forward)
    with _timed("deriving", seconds):
        derived = read_symmetries(program)
    weights = sum(tensor.numel() for tensor in model.state_dict().values())
    require_memory(_COPIES * _WIDE * weights, f"--model {given['model']}", "measure a smaller model of its kind")
    with _timed("measuring", seconds), guarded_call(f"--model {given['model']}: cannot be measured on one sample"):
        found = measured(derived, model.double(), taken(inputs, slice(0, 1)), task.forward, seed)
    return SymmetriesReport(str(given["model"]), described(inputs), derived, found, seconds)


@contextmanager
def _timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[what] = time.monotonic() - start


def _subject(given: Mapping[str, Any]) -> tuple[Task, Inputs]:
    """Return a task of the model, and what the model is run on."""
    if given["data"] is not None:
        _refuse(given, ("input_shape", "input_type"), "--data is given, which says what the model is run on")
        flags = {**given, "loss_is_convex": None, "batch_size": 512, "device": "cpu", "dtype": "float32"}
        task = task_of(task_flags(flags), [], [])
        return task, first_inputs(task)
    _refuse(given, ("layout", "loss", "normalize", "image_size"), "it is for data, and no --data is given")
    check_size(given["model"], ())
    nothing = CachedSplit("train", torch.zeros(1), torch.zeros(1))
    task = Task(model_factory(given["model"]), nothing, forward=Forward(given["output"]), model_name=given["model"])
    model = task.structure()
    return task, example_inputs(model, given["model"], given["input_shape"], given["input_type"], _SAMPLES)


def _refuse(given: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    """Refuse flags that would silently do nothing."""
    source = click.get_current_context().get_parameter_source
    for name in names:
        if given[name] is not None and source(name) == ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} is given, but {why}; leave it out")
