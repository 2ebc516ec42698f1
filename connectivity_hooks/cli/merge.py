"""``connectivity-hooks merge DIR``: what the shards of a work left, put together."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from connectivity_hooks.cli.connect import status_of
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options
from connectivity_hooks.cli.numbers import Number
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.results import show
from connectivity_hooks.cli.shard import COMMAND, MAY_BE_CODE, is_code
from connectivity_hooks.cli.terminal import NOT_MET, Display, say_error
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.evaluation.measuring import Measuring, make_correction
from connectivity_hooks.registry import registry
from connectivity_hooks.reports.report import Report
from connectivity_hooks.shards import RecordedTask, WorkList, gather, merged
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks import Task, make_task

EXAMPLES = """
\b
Examples:
  connectivity-hooks merge report --model net.py:make
  connectivity-hooks merge node1/report node2/report --out report --model net.py:make --data data.py:loaders
"""


@click.command(
    cls=method_command("reporters"), epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.argument("folders", nargs=-1, required=True, metavar="DIR [DIR …]", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--model", metavar="SPEC", help="As the shards had it; needed where it is code: no file names code to run."
)
@click.option("--data", metavar="SPEC", help="Likewise.")
@click.option("--loss", metavar="SPEC", help="Likewise.")
@click.option("--augment", metavar="SPEC", help="Likewise.")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="Where the last t are measured.")
@click.option(
    "--fail-above",
    type=Number(),
    metavar="X",
    help="Exit with 4 when every builder's training barrier exceeds X.",
)
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), metavar="DIR", help="Write here; the first DIR when left out."
)
@click.option("--reporter", "reporters", multiple=True, metavar="NAME", help="Write a plugin's report too.")
@json_option
@plugin_options
def command(folders: Sequence[pathlib.Path], **given: Any) -> int:
    """Put together what `connect --shard` left in DIR: paths and reports as one process would have made them.

    What is missing is listed, with the shards to run again, and the exit status is 4. The rounds of refinement, which
    need the measurements of all shards, are measured here.
    """
    display = Display(quiet=given["as_json"])
    reporters = [make_method(registry().reporter(name), given, seed=0, progress=display) for name in given["reporters"]]
    refuse_stray_options(given, given["reporters"])
    gathered = gather(folders)
    if gathered.missing:
        say_error(f"{folders[0]}: {gathered.in_words()}, then merge")
        return NOT_MET
    if gathered.work.command != COMMAND:
        raise InputError(f"{folders[0]}: is work of {gathered.work.command[:40]!r}, expected {COMMAND!r}")
    out = given["out"] or folders[0]
    task = _task(gathered.work.task, given)
    for note in (*task.notes, *gathered.work.notes):
        display.say(note)
    with OutputFolder(out) as folder:
        evaluations = list(merged(gathered, folder.path, task, _measuring(gathered.work, display), display))
        ends = next(iter(gathered.work.ways.values())).ends
        report = Report.of(evaluations, checkpoints=ends, notes=gathered.work.notes)
        report.save(folder.path)
        for reporter in reporters:
            with guarded_call(f"reporter {reporter.name}"):
                reporter.write(report, folder.path)
    answers = [evaluation.conclusion for evaluation in report.evaluations.values()]
    show(report, answers, given["as_json"], out / "report.html")
    return status_of(evaluations, given["fail_above"])


def _task(recorded: RecordedTask, given: Mapping[str, Any]) -> Task:
    """Make the task that the shards had; code that a file names is not run, the person must name it."""
    flags = dataclasses.asdict(recorded)
    for name in MAY_BE_CODE:
        if given[name] is None and is_code(name, flags[name]):
            raise UsageError(f"the shards had --{name} {flags[name]}, which is code: give it again")
        flags[name] = given[name] or flags[name]
    return make_task(**{**flags, "device": given["device"]})


def _measuring(work: WorkList, display: Display) -> Measuring:
    how = work.measuring
    options = {name: value for name, value in how.correction_options.items() if name != "seed"}
    correction = make_correction(how.correction, options, seed=work.seed, progress=display)
    return Measuring(how.points, how.refine, correction)
