"""``connect A B``: a verdict, a path file, a barrier, and a report."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
from torch import nn

from connectivity_hooks.checking import left_out, load_model, observe, verdicts
from connectivity_hooks.checkpoints import Checkpoint, read
from connectivity_hooks.cli.budget_option import budget_option
from connectivity_hooks.cli.connect_methods import Methods, methods_of
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.measuring_options import calibrate_option, measuring_options
from connectivity_hooks.cli.method_options import method_command
from connectivity_hooks.cli.numbers import Number, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.results import show
from connectivity_hooks.cli.shard import connect_shard, require_shardable, shard_option
from connectivity_hooks.cli.task_options import augment_option, task_flags, task_of, task_options
from connectivity_hooks.cli.terminal import NOT_MET, Display, terminal_width
from connectivity_hooks.connecting.attempts import Attempts, Way
from connectivity_hooks.connecting.best import Candidates, Kept, keep_best
from connectivity_hooks.connecting.pair import Pair, load_pair
from connectivity_hooks.connecting.subject import code_of, data_digest
from connectivity_hooks.connecting.work import PairWork, path_file
from connectivity_hooks.contracts import Condition, Reporter, Verdict
from connectivity_hooks.contracts.builder import BEST
from connectivity_hooks.errors import ConnectivityError, one_line
from connectivity_hooks.evaluation import Evaluation
from connectivity_hooks.reports.report import Report, notes_of
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks import Task
from connectivity_hooks.team import joined, together

EXAMPLES = """
\b
Examples:
  connect a.safetensors b.safetensors --model net.py:make --data mnist.npz --normalize 0.1307,0.3081 --out report
  connect run1/ run2/ --data photos/ --image-size 224 --correct batch-norm --json
"""


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
    help="How to make a path; give it again to compare several on the same samples. all: every builder that fits the "
    "model. best: from the simplest on, and the best is kept.",
)
@click.option("--align", metavar="NAME", help="Replace B by its nearest copy that is equal as a function.")
@click.option(
    "--condition", "conditions", multiple=True, metavar="NAME", help="Check it on both ends; may be repeated."
)
@budget_option
@measuring_options
@calibrate_option
@click.option(
    "--fail-above",
    type=Number(),
    metavar="X",
    help="Exit with 4 when every builder's training barrier exceeds X; of best, that of the path that is kept.",
)
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), metavar="DIR", help="Write path files and reports here."
)
@click.option("--reporter", "reporters", multiple=True, metavar="NAME", help="Write a plugin's report too.")
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@shard_option("builders are dealt out; a line is divided over t where there are shards to spare. Then `merge`.")
@plugin_options
def command(a: str, b: str, **given: Any) -> int:
    """Connect two checkpoints A and B of one model by a path in weight space.

    Says whether the loss stays low along the path, how high it rises, and what of that is proven.
    """
    display = Display(quiet=given["as_json"])
    if given["out"] is None and given["reporters"]:
        raise click.UsageError("--reporter writes a file: say --out DIR")
    require_shardable(given)
    methods = methods_of(given, display)
    given["device"] = joined().device(given["device"])
    ends = [read(pathlib.Path(a)), read(pathlib.Path(b))]
    task = task_of(task_flags(given), ends, [a, b])
    pair = load_pair(ends[0], ends[1], task)
    for note in pair.notes:
        display.say(note)
    team = together(task.device)
    team.require_same(_of_every_process(pair, task, methods) if team.count > 1 else {})
    checked = _check_conditions(methods.conditions, ends, task, display) if team.is_first else {}
    del ends
    if given["shard"]:
        connect_shard(given, pair, task, [way.how for way in methods.named], display)
        return 0
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(OutputFolder(given["out"])) if given["out"] and team.is_first else None
        attempts = Attempts(pair, task, _place(folder.path, pair, task, methods, display) if folder else None, display)
        kept = _connect(methods, attempts)
        for note in dict.fromkeys(note for found in attempts.evaluations.values() for note in found.notes):
            display.say(note)
        report = _report(pair, checked, attempts, kept)
        if folder:
            _save(report, kept, folder.path, attempts, methods.reporters)
    show(_Sized(report), report.answers, given["as_json"], given["out"] and given["out"] / "report.html")
    counted = [kept.name] if kept else list(attempts.evaluations)
    return status_of([attempts.evaluations[name] for name in counted], given["fail_above"])


@dataclass(frozen=True)
class _Sized:
    """A report whose table fits the terminal."""

    report: Report

    def as_json(self) -> dict[str, Any]:
        return self.report.as_json()

    def table(self) -> str:
        return self.report.table(terminal_width())


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


def _of_every_process(pair: Pair, task: Task, methods: Methods) -> dict[str, object]:
    """Return what processes that work together must have in common; the number of a GPU is each one's own."""
    # Files may lie elsewhere on another machine, and what is in them is compared; each has a GPU of its own.
    described = {**task.describe(), "device": task.device.type, "model": "", "data": ""}
    # The values that code holds may be each process's own, such as its rank; the module it makes is not.
    code = {what: digest for what, digest in code_of(task).items() if what != "values"}
    ends = [end.sha256 for end in pair.end_points]
    common = {"the checkpoints": ends, "the data": data_digest(task), "the code": code}
    return {**common, "the flags": [described, methods.describe()]}


def _place(
    folder: pathlib.Path, pair: Pair, task: Task, methods: Methods, display: Display
) -> Callable[[Way], PairWork]:
    """Return what gives each way a place for its path and measurements, where a run that goes on finds them."""
    data = data_digest(task)  # a pass over the data, which only a run that may be resumed is compared by
    # Of `best` one path is left in the end; those it is chosen from are no files that anyone asked for by name.
    prefix = f"{BEST}." if isinstance(methods.ways, Candidates) else ""

    def place(way: Way) -> PairWork:
        return PairWork(folder, f"{prefix}{way.name}", way.how.subject(pair, task, data), display)

    return place


def _connect(methods: Methods, attempts: Attempts) -> Kept | None:
    """Build and evaluate the paths, going on from what an earlier run left; return the chosen one, if one is."""
    if isinstance(methods.ways, Candidates):
        return keep_best(methods.ways, attempts)
    for way in methods.ways:
        if methods.spare:
            attempts.attempt(way)
        else:
            attempts.make(way)
    attempts.require_one()
    return None


def _report(pair: Pair, checked: Mapping[str, Sequence[Verdict]], attempts: Attempts, kept: Kept | None) -> Report:
    report = Report(
        attempts.evaluations, pair.end_points, checked, notes_of(attempts.evaluations, pair.notes), attempts.refused
    )
    return replace(report, kept=kept.name, why=kept.why) if kept else report


def _save(
    report: Report, kept: Kept | None, folder: pathlib.Path, attempts: Attempts, reporters: Sequence[Reporter]
) -> None:
    """Write everything, and forget what was kept for an interruption; of `best`, one path is left."""
    if kept:
        kept.path.save(path_file(folder, BEST))
    report.save(folder)
    for reporter in reporters:
        with guarded_call(f"reporter {reporter.name}"):
            reporter.write(report, folder)
    for work in attempts.works.values():
        work.finish()
        if kept:
            work.file.unlink(missing_ok=True)


def status_of(evaluations: Sequence[Evaluation], limit: float | None) -> int:
    """Return the exit status under ``--fail-above``."""
    if limit is None:
        return 0
    lowest = min(next(iter(evaluation.barriers.values())).barrier_entezari for evaluation in evaluations)
    return 0 if lowest <= limit else NOT_MET
