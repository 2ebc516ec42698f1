"""``connect A B``: a verdict, a path file, a barrier, and a report."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from torch import nn

from connectivity_hooks.checking import left_out, load_model, observe, verdicts
from connectivity_hooks.checkpoints import Checkpoint, read
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.measuring_options import measuring, measuring_options
from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options, single
from connectivity_hooks.cli.numbers import Number, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.results import show
from connectivity_hooks.cli.task_options import augment_option, task_flags, task_of, task_options
from connectivity_hooks.cli.terminal import NOT_MET, Display
from connectivity_hooks.connecting.measured import measured_pair
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair, load_pair
from connectivity_hooks.connecting.subject import code_of, data_digest
from connectivity_hooks.connecting.work import PairWork
from connectivity_hooks.contracts import Aligner, Builder, Condition, Reporter, Verdict
from connectivity_hooks.errors import ConnectivityError, one_line
from connectivity_hooks.evaluation import Evaluation
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.registry import registry
from connectivity_hooks.reports.report import Report
from connectivity_hooks.tasks import Task
from connectivity_hooks.team import joined, together

EXAMPLES = """
\b
Examples:
  connect a.safetensors b.safetensors --model net.py:make --data mnist.npz --normalize 0.1307,0.3081 --out report
  connect run1/ run2/ --data photos/ --image-size 224 --correct batch-norm --json
"""


@dataclass(frozen=True)
class _Methods:
    builders: Sequence[Builder]
    conditions: Sequence[Condition]
    reporters: Sequence[Reporter]
    aligner: Aligner | None
    measuring: Measuring


@click.command(
    cls=method_command("builders", "aligners", "conditions", "corrections", "reporters"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@task_options
@augment_option
@click.option(
    "--builder",
    "builders",
    multiple=True,
    default=["linear"],
    show_default=True,
    metavar="NAME",
    help="How to make a path; give it again to compare several on the same samples.",
)
@click.option("--align", metavar="NAME", help="Replace B by its nearest copy that is equal as a function.")
@click.option(
    "--condition", "conditions", multiple=True, metavar="NAME", help="Check it on both ends; may be repeated."
)
@measuring_options
@click.option(
    "--fail-above",
    type=Number(),
    metavar="X",
    help="Exit with 4 when every builder's training barrier exceeds X.",
)
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), metavar="DIR", help="Write path files and reports here."
)
@click.option("--reporter", "reporters", multiple=True, metavar="NAME", help="Write a plugin's report too.")
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(a: str, b: str, **given: Any) -> int:
    """Connect two checkpoints A and B of one model by a path in weight space.

    Says whether the loss stays low along the path, how high it rises, and what of that is proven.
    """
    display = Display(quiet=given["as_json"])
    if given["out"] is None and given["reporters"]:
        raise click.UsageError("--reporter writes a file: say --out DIR")
    methods = _methods(given, display)
    given["device"] = joined().device(given["device"])
    ends = [read(pathlib.Path(a)), read(pathlib.Path(b))]
    task = task_of(task_flags(given), ends, [a, b])
    pair = load_pair(ends[0], ends[1], task)
    for note in pair.notes:
        display.say(note)
    ways = [Connecting(builder, methods.aligner, methods.measuring) for builder in methods.builders]
    team = together(task.device)
    team.require_same(_of_every_process(pair, task, ways) if team.count > 1 else {})
    checked = _check_conditions(methods.conditions, ends, task, display) if team.is_first else {}
    del ends
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(OutputFolder(given["out"])) if given["out"] and team.is_first else None
        works = _works(folder.path, pair, task, ways, display) if folder else []
        evaluations = [_connect(pair, task, how, work, display) for how, work in itertools.zip_longest(ways, works)]
        report = Report.of(evaluations, checkpoints=pair.end_points, conditions=checked, notes=pair.notes)
        if folder:
            report.save(folder.path)
            for reporter in methods.reporters:
                reporter.write(report, folder.path)
            for work in works:
                work.finish()
    answers = [evaluation.conclusion for evaluation in report.evaluations.values()]
    show(report, answers, given["as_json"], given["out"] and given["out"] / "report.html")
    return _status(evaluations, given["fail_above"])


def _methods(given: Mapping[str, Any], display: Display) -> _Methods:
    """Make everything named, so that a wrong name or option ends the program before any file is opened."""
    known = registry()
    builders = list(dict.fromkeys(given["builders"]))
    chosen = [*builders, *given["conditions"], *given["reporters"], *single(given["align"], given["correct"])]

    def make(kind: Any) -> Any:
        return make_method(kind, given, seed=given["seed"], progress=display)

    methods = _Methods(
        builders=[make(known.builder(name)) for name in builders],
        conditions=[make(known.condition(name)) for name in given["conditions"]],
        reporters=[make(known.reporter(name)) for name in given["reporters"]],
        aligner=make(known.aligner(given["align"])) if given["align"] else None,
        measuring=measuring(given, display),
    )
    refuse_stray_options(given, chosen)
    return methods


def _check_conditions(
    conditions: Sequence[Condition], ends: Sequence[Checkpoint], task: Task, display: Display
) -> dict[str, list[Verdict]]:
    checked: dict[str, list[Verdict]] = {}
    for side, checkpoint in zip("AB", ends, strict=True):
        if conditions:
            name = f"{side}: {checkpoint.file.name}"
            checked[name] = _verdicts_on(load_model(checkpoint, task), conditions, task, name, display)
    return checked


def _verdicts_on(
    model: nn.Module, conditions: Sequence[Condition], task: Task, name: str, display: Display
) -> list[Verdict]:
    """Ask the conditions of one end; what cannot be looked at is no reason to leave the pair unconnected."""
    try:
        observation = observe(model, task)
    except ConnectivityError as error:
        return [Verdict.invalid(condition.name, None, one_line(error)) for condition in conditions]
    if observation.left_out:
        display.say(f"{name}: {left_out(observation)}")
    return [verdict for condition in conditions for verdict in verdicts(condition, observation, name)]


def _of_every_process(pair: Pair, task: Task, ways: Sequence[Connecting]) -> dict[str, object]:
    """Return what processes that work together must have in common; the number of a GPU is each one's own."""
    found = ways[0].subject(pair, task, data_digest(task))
    # Files may lie elsewhere on another machine, and what is in them is compared; each has a GPU of its own.
    described = {**task.describe(), "device": task.device.type, "model": "", "data": ""}
    # The values that code holds may be each process's own, such as its rank; the module it makes is not.
    code = {what: digest for what, digest in code_of(task).items() if what != "values"}
    common = {"the checkpoints": found["ends"], "the data": found["data"], "the code": code}
    return {**common, "the flags": [described, [how.describe() for how in ways]]}


def _works(
    folder: pathlib.Path, pair: Pair, task: Task, ways: Sequence[Connecting], display: Display
) -> list[PairWork]:
    """Return where each builder's path and measurements go, and are found again."""
    data = data_digest(task)  # a pass over the data, which only a run that may be resumed is compared by
    return [PairWork(folder, how.builder.name, how.subject(pair, task, data), display) for how in ways]


def _connect(pair: Pair, task: Task, how: Connecting, work: PairWork | None, display: Display) -> Evaluation:
    """Build and evaluate one path, going on from what an interrupted run left in the folder."""
    evaluation = measured_pair(pair, task, how, work, display)
    for note in evaluation.notes:
        display.say(note)
    return evaluation


def _status(evaluations: Sequence[Evaluation], limit: float | None) -> int:
    if limit is None:
        return 0
    lowest = min(next(iter(evaluation.barriers.values())).barrier_entezari for evaluation in evaluations)
    return 0 if lowest <= limit else NOT_MET
