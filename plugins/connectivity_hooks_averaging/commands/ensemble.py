"""``connectivity-hooks ensemble P.path.safetensors``: predictions of points along a path, averaged."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from connectivity_hooks.checkpoints import read
from connectivity_hooks.cli.toolkit import (
    Count,
    Display,
    Number,
    OutputFolder,
    Seed,
    correct_option,
    correction_of,
    json_option,
    method_command,
    plain,
    plugin_options,
    print_json,
    refuse_stray_options,
    single,
    task_flags,
    task_of,
    task_options,
    terminal_width,
)
from connectivity_hooks.paths import Path
from connectivity_hooks_averaging.ensemble.ensemble import HOLD_OUT, MOST, Ensembling, ensembled

EXAMPLES = """
\b
Examples:
  connectivity-hooks ensemble report/bezier.path.safetensors --points 10 --model net.py:make --data mnist.npz
  connectivity-hooks ensemble p.path.safetensors --beside c/ --beside d/ --data photos/ --out report
"""


@click.command(
    cls=method_command("corrections"), epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.argument("path", metavar="PATH")
@task_options
@click.option(
    "--points",
    type=Count(2, MOST),
    default=5,
    show_default=True,
    metavar="K",
    help="Points evenly spaced by the path's length, the ends among them; 2 is the two ends.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="CHECKPOINT",
    help="Another checkpoint to compare with, a file or a folder; give it again for an ensemble of all of them.",
)
@click.option(
    "--hold-out",
    type=Number(),
    default=HOLD_OUT,
    show_default=True,
    metavar="SHARE",
    help="Of the training samples, for the temperatures.",
)
@correct_option()
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), metavar="DIR", help="Write a report with a picture here."
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(path: str, out: pathlib.Path | None, **given: Any) -> None:
    """Average the predictions of points along the path file PATH, and say how good, how sure and how unlike they are.

    Accuracy, log-likelihood, calibration before and after a temperature, and diversity on the test split, beside both
    ends, the mean of the points' weights, and other checkpoints. Under mse the mean prediction and its loss.
    """
    display = Display(quiet=given["as_json"])
    correction = correction_of(given, display)
    refuse_stray_options(given, single(given["correct"]))
    how = Ensembling(given["points"], given["hold_out"], correction, given["seed"])
    loaded = Path.load(path)
    ends = [read(file) for file in given["beside"]]
    task = task_of(task_flags(given), ends, list(given["beside"]))
    found = ensembled(loaded, task, how, given["beside"], display)
    if out is not None:
        with OutputFolder(out) as folder:
            found.save(folder.path)
    if given["as_json"]:
        print_json(found.as_json())
        return
    for note in found.notes:
        display.say(note)
    click.echo("\n".join([plain(found.as_json()["verdict"]), found.table(terminal_width())]))
