"""``connectivity-hooks convert IN OUT``: a safetensors checkpoint of a pickle, without running its code."""

from __future__ import annotations

import pathlib

import click

from connectivity_hooks.checkpoints import convert
from connectivity_hooks.checkpoints.atomic import require_other
from connectivity_hooks.cli.plugin_options import plugin_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="IN", type=click.Path(path_type=pathlib.Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=pathlib.Path))
@click.option("--key", metavar="KEY", help="Which entry holds the weights, e.g. state_dict_ema or ema.module.")
@click.option("--prefix", metavar="PREFIX", help="Keep only names under PREFIX, and strip it, e.g. net.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    help="Floating type to store; unchanged if left out.",
)
@plugin_options
def command(source: pathlib.Path, target: pathlib.Path, key: str | None, prefix: str | None, dtype: str | None) -> None:
    """Make the safetensors checkpoint OUT of IN: a .pt, .pth, .ckpt or .bin file, or a safetensors file.

    Only tensors and plain containers are read (weights_only); a file that wants to run code is refused. Where a file
    holds several sets of weights, such as trained and averaged (EMA) ones, --key must choose: use the same for both
    ends of a path.
    """
    require_other(pathlib.Path(source), pathlib.Path(target))
    summary = convert(source, target, key=key, prefix=prefix, dtype=dtype)
    for note in summary.notes:
        click.echo(note, err=True)
    click.echo(f"{target}: {summary.tensors} tensors", err=True)
