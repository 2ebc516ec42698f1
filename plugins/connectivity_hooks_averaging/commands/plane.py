"""``connectivity-hooks plane A B C``: the loss on the plane through three checkpoints."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
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
from connectivity_hooks_averaging.planes.content import content_of, table_of
from connectivity_hooks_averaging.planes.functions import plane
from connectivity_hooks_averaging.planes.grid import MOST
from connectivity_hooks_averaging.planes.landscape import Landscape
from connectivity_hooks_averaging.planes.reading import is_path
from connectivity_hooks_averaging.planes.writing import save

EXAMPLES = """
\b
Examples:
  connectivity-hooks plane a.safetensors b.safetensors c.safetensors --model net.py:make --data mnist.npz --out plane
  connectivity-hooks plane a/ b/ c/ soup.safetensors report/autoneb.path.safetensors --data photos/ --out plane
  connectivity-hooks plane report/bezier.path.safetensors --model net.py:make --data mnist.npz --out plane
"""


@click.command(
    cls=method_command("corrections", shown=lambda correction: correction.by_weights_alone),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C [D|P.path.safetensors …]")
@task_options
@click.option(
    "--points", type=Count(2, MOST), default=21, show_default=True, metavar="N", help="Places along each axis."
)
@click.option(
    "--margin",
    type=Amount(0, 10),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Around all that is drawn, as a share of its larger extent.",
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
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, **given: Any) -> None:
    """Draw loss and error on the plane through three checkpoints, A, B and C (Garipov et al. 2018).

    Distances are those between parameters. Further checkpoints and paths are projected onto the plane, and it is said
    how far from it they lie: their own loss is measured beside that of the plane beneath them. A path file by itself
    gives the plane through its start, its end and its middle. Corrections are those that go by the weights alone, such
    as batch-norm. Written are plane.svg, .png, .csv, .json and .html, and plane-points.csv.
    """
    display = Display(quiet=given["as_json"])
    refuse_stray_options(given, single(given["correct"]))
    correction = correction_of(given, display)
    first = 1 if is_path(checkpoints[0]) else 3
    ends = [file for file in checkpoints if not is_path(file)]
    task = task_of(task_flags(given), [read(file) for file in ends], ends)
    with OutputFolder(out) as folder:
        found = plane(
            checkpoints[:first],
            task,
            project=checkpoints[first:],
            points=given["points"],
            margin=given["margin"],
            correct=correction,
            keep=folder.path,
            seed=given["seed"],
            progress=display,
        )
        save(found, folder.path)
    show(found, out, as_json=given["as_json"])


def show(found: Landscape, out: pathlib.Path, *, as_json: bool) -> None:
    """Print what was found: one JSON object, or sentences and a table."""
    content = content_of(found)
    if as_json:
        print_json(content)
        return
    notes = [f"note: {note}" for note in content["notes"]]
    click.echo("\n".join([*map(plain, content["verdict"]), *map(plain, notes), "", table_of(found, terminal_width())]))
    click.echo(f"\nwritten to {out / f'{found.kind}.html'}")
