"""``connectivity-hooks simplex-route FILE --from 1 --to 2 -o PATH``: a path that stays inside a volume."""

from __future__ import annotations

import pathlib

import click

from connectivity_hooks.cli.toolkit import Count, Display, plugin_options
from connectivity_hooks.errors import UsageError
from connectivity_hooks_curves.simplex.file import MOST, read_complex


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", metavar="FILE")
@click.option("--from", "start", type=Count(1, MOST), default=1, show_default=True, metavar="I", help="First vertex.")
@click.option("--to", "end", type=Count(1, MOST), default=2, show_default=True, metavar="J", help="Last vertex.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="FILE",
    help="The path file to write, *.path.safetensors.",
)
@plugin_options
def command(file: str, start: int, end: int, out: pathlib.Path) -> None:
    """Write the way between two vertices of the simplex file FILE as a path file.

    Vertices are counted from 1, checkpoints first, in the order they were given in. Two straight lines lead over the
    middle of the connectors, and both are inside the volume. `report`, `sample` and `verify` take the file.
    """
    if out.exists() and pathlib.Path(file).exists() and out.samefile(file):
        raise UsageError(f"{out}: is the file that is read; name another one to write")
    found = read_complex(file)
    path = found.route(start - 1, end - 1)
    path.save(out)
    Display().say(f"{out}: from {found.name(start - 1)} to {found.name(end - 1)}")
    if path.end_points is None and all(found.vertices[vertex - 1].is_checkpoint for vertex in (start, end)):
        Display().say(f"{out}: its first end was aligned, so it names no checkpoints")
