"""``connectivity-hooks simplex A B C …``: a volume of low loss through checkpoints, trained and measured."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
from torch import Tensor

from connectivity_hooks.checkpoints import Checkpoint, atomic_text, read, require_outlines
from connectivity_hooks.cli.toolkit import (
    Count,
    Display,
    OutputFolder,
    Seed,
    augment_option,
    correct_option,
    correction_of,
    json_option,
    make_method,
    method_command,
    plain,
    plugin_options,
    print_json,
    refuse_stray_options,
    single,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks.connecting import (
    Connecting,
    Pair,
    PairWork,
    data_digest,
    in_one_type,
    load_pair,
)
from connectivity_hooks.contracts import Aligner, Correction, make_options
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.evaluation import Measuring as PathMeasuring
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.simplex.builder import Simplex, complex_of
from connectivity_hooks_curves.simplex.commands.modes import Modes, modes_of
from connectivity_hooks_curves.simplex.commands.report import content_of, in_words
from connectivity_hooks_curves.simplex.complex import Complex
from connectivity_hooks_curves.simplex.file import SUFFIX, opened, read_complex, write_complex
from connectivity_hooks_curves.simplex.measuring import Measuring
from connectivity_hooks_curves.simplex.training import train_connectors

FILE = f"volume{SUFFIX}"
REPORT = "simplex.json"
MEASURED = ".measured"
"""Folder of what an interrupted run measured; removed when all is there."""

EXAMPLES = """
\b
Examples:
  connectivity-hooks simplex run*/last.safetensors --model net.py:make --data mnist.npz --out volume
  connectivity-hooks simplex a.safetensors b.safetensors --connectors 3 --budget 5m --align weight-matching \\
    --model net.py:make --data mnist.npz --out volume
"""


@click.command(
    cls=method_command("builders.simplex", "aligners", "corrections"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C …")
@task_options
@augment_option
@click.option("--connectors", metavar="N", help="Short for --simplex.connectors.")
@click.option("--budget", metavar="BUDGET", help="Short for --simplex.budget.")
@click.option("--align", metavar="NAME", help="Bring each checkpoint to the first by this aligner before.")
@correct_option()
@click.option(
    "--draws",
    type=Count(1, 100_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Places in the volume that are measured; each costs a pass over the data.",
)
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), required=True, metavar="DIR", help="Write the volume here."
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, **given: Any) -> None:
    """Train a volume of low loss through the checkpoints, and measure the loss at places drawn from it.

    Each checkpoint and all connectors are the corners of a simplex; the simplices meet in the connectors, which are
    trained. The same command goes on where it was interrupted.
    """
    display = Display(quiet=given["as_json"])
    if len(checkpoints) < 2:
        raise InputError("simplex: one checkpoint; expected two or more, which the volume lies between")
    simplex, aligner, correction = _methods(given, display)
    ends = [read(pathlib.Path(file)) for file in checkpoints]
    task = task_of(task_flags(given), ends, list(checkpoints))
    require_outlines(ends, task.structure())
    pairs = in_one_type([load_pair(ends[0], end, task) for end in ends[1:]])
    for note in dict.fromkeys(note for pair in pairs for note in pair.notes):
        display.say(note)
    with OutputFolder(out) as folder:
        subject = _subject(pairs, task, Connecting(simplex, aligner, PathMeasuring(correct=correction)))
        of_volume = {name: value for name, value in subject.items() if name != "correction"}
        found = _found(folder.path / FILE, of_volume, display)
        if found is None:
            modes = modes_of(pairs, task, aligner, folder.path, display)
            work = PairWork(folder.path, "simplex", of_volume, display)
            found = _trained(modes, ends[0], task, simplex, work, display)
            write_complex(found, folder.path / FILE, _digest(of_volume))
            for each in (work, *modes.works):
                each.finish()
        content = _measured(Measuring(found, task, correction, folder.path / MEASURED, subject, display), given)
        atomic_text(folder.path / REPORT, json.dumps(content, indent=1, allow_nan=False))
        shutil.rmtree(folder.path / MEASURED)
    if given["as_json"]:
        print_json(content)
    else:
        click.echo("\n".join(map(plain, in_words(content))))


def _measured(measuring: Measuring, given: Mapping[str, Any]) -> dict[str, Any]:
    """Measure vertices and draws; return the report."""
    measuring.folder.mkdir(exist_ok=True)
    vertices, draws = measuring.vertices(), measuring.draws(given["seed"], given["draws"])
    return content_of(measuring.found, FILE, vertices, draws, measuring.correction)


def _methods(given: Mapping[str, Any], display: Display) -> tuple[Simplex, Aligner | None, Correction | None]:
    """Make everything named, so that a wrong name or option ends the program before any file is opened."""
    simplex: Simplex = make_method(Simplex, given, seed=given["seed"], progress=display)
    short = {name: given[name] for name in ("connectors", "budget") if given[name] is not None}
    typed = make_options(Simplex.Options, short, "simplex")
    for name in short:
        if getattr(simplex.options, name) != getattr(Simplex.Options(), name):
            raise UsageError(f"--{name} and --simplex.{name} are both given; say one of them")
    options = replace(simplex.options, **{name: getattr(typed, name) for name in short})
    aligner = None
    if given["align"] is not None:
        aligner = make_method(registry().aligner(given["align"]), given, seed=given["seed"], progress=display)
    correction = correction_of(given, display)
    if correction is not None and not correction.everywhere:
        raise UsageError(
            f"--correct {correction.name}: it fits the weights between two ends, and a volume has more; "
            "use batch-norm, or leave it out"
        )
    refuse_stray_options(given, ["simplex", *single(given["align"], given["correct"])])
    return Simplex(options, seed=given["seed"], progress=display), aligner, correction


def _subject(pairs: Sequence[Pair], task: Task, how: Connecting) -> dict[str, Any]:
    """Return everything that the measurements in the volume depend on."""
    data = data_digest(task)
    found = [how.subject(pair, task, data) for pair in pairs]
    return {**found[0], "ends": [each["ends"] for each in found]}


def _digest(subject: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()


def _found(file: pathlib.Path, subject: Mapping[str, Any], display: Display) -> Complex | None:
    """Return the volume that an earlier run of the same command trained; None where there is none, or a damaged one."""
    if not file.exists():
        return None
    try:
        if opened(file).metadata.get("made_of") != _digest(subject):
            return None
        found = read_complex(file)
    except InputError as fault:
        display.say(f"{fault}; it is trained again")
        return None
    display.say(f"{file.name} is kept: it was trained from the same checkpoints with the same options")
    return found


def _trained(
    modes: Modes, first: Checkpoint, task: Task, simplex: Simplex, work: PairWork, display: Display
) -> Complex:
    """Train the connectors, going on from what an interrupted run left in the folder."""
    state = work.state("builder")
    found = train_connectors(modes.weights, task, simplex.options, seed=simplex.seed, work=state, progress=display)
    if found.note:
        display.say(f"simplex: {found.note}")
    own = {name: _in_words(tensor) for name, tensor in modes.weights[0].items()}
    stored = {name: _in_words(first.outline[name]) for name in own if name in first.outline}
    dtypes = {name: dtype for name, dtype in stored.items() if dtype != own[name]}
    augment = {"augment": task.augment_name} if task.augment_name else {}
    return complex_of(modes.weights, modes.vertices, found, dtypes, {**simplex.used_options(), **augment}, task.facts())


def _in_words(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
