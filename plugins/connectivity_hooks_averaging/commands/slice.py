"""``connectivity-hooks slice A``: the loss around one checkpoint along random directions."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from connectivity_hooks.checkpoints import read
from connectivity_hooks.cli.toolkit import (
    Amount,
    Count,
    Display,
    OutputFolder,
    Seed,
    correct_option,
    correction_of,
    json_option,
    method_command,
    plugin_options,
    refuse_stray_options,
    single,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks_averaging.commands.plane import show
from connectivity_hooks_averaging.planes.functions import slice_around
from connectivity_hooks_averaging.planes.grid import LEAST_REACH, MOST, MOST_REACH
from connectivity_hooks_averaging.planes.writing import save

EXAMPLES = """
\b
Examples:
  connectivity-hooks slice a.safetensors --model net.py:make --data mnist.npz --out slice
  connectivity-hooks slice a.safetensors --directions 1 --range 0.5 --points 51 --data mnist.npz --out slice
"""


@click.command(
    cls=method_command("corrections", shown=lambda correction: correction.by_weights_alone),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoint", metavar="A")
@task_options
@click.option("--directions", type=Count(1, 2), default=2, show_default=True, metavar="1|2", help="A line or a plane.")
@click.option(
    "--range",
    "reach",
    type=Amount(LEAST_REACH, MOST_REACH),
    default=1.0,
    show_default=True,
    metavar="X",
    help="How far along each direction, to both sides; at 1 each filter has moved by its own length.",
)
@click.option(
    "--points", type=Count(2, MOST), default=31, show_default=True, metavar="N", help="Places along each direction."
)
@correct_option()
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="DIR",
    help="Write the report here; places measured there before are kept.",
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of the directions.")
@plugin_options
def command(checkpoint: str, out: pathlib.Path, **given: Any) -> None:
    """Draw loss and error around checkpoint A along random directions (Li et al. 2018).

    Each filter of a direction, the weights that make one channel or neuron, is as long as that filter of A. Biases and
    the parameters of norms do not move. Corrections are those that go by the weights alone, such as batch-norm. Written
    are slice.svg, .png, .csv, .json and .html, and slice-points.csv.
    """
    display = Display(quiet=given["as_json"])
    refuse_stray_options(given, single(given["correct"]))
    correction = correction_of(given, display)
    task = task_of(task_flags(given), [read(checkpoint)], [checkpoint])
    with OutputFolder(out) as folder:
        found = slice_around(
            checkpoint,
            task,
            directions=given["directions"],
            reach=given["reach"],
            points=given["points"],
            correct=correction,
            keep=folder.path,
            seed=given["seed"],
            progress=display,
        )
        save(found, folder.path)
    show(found, out, as_json=given["as_json"])
