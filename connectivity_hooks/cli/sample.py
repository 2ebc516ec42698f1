"""``connectivity-hooks sample PATH -t 0.5 -o FILE``: the weights at one point of a path, as a checkpoint."""

from __future__ import annotations

import json
import pathlib

import click
import torch

from connectivity_hooks.checkpoints import write_tensors
from connectivity_hooks.checkpoints.atomic import require_other
from connectivity_hooks.cli.numbers import Amount
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.evaluation.spectral_norm import norms_inside, recompute, spectral_norms
from connectivity_hooks.paths import Path

TYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="PATH")
@click.option(
    "-t",
    "position",
    type=Amount(0, 1),
    required=True,
    metavar="T",
    help="Where on the path: 0 is the first checkpoint, 1 the second.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="FILE",
    help="The safetensors file to write.",
)
@click.option("--dtype", type=click.Choice(list(TYPES)), help="Floating type to store; the path's own if left out.")
@plugin_options
def command(path: str, position: float, out: pathlib.Path, dtype: str | None) -> None:
    """Write the weights at T on the path file PATH as a checkpoint.

    The file has the model's own names: load_state_dict takes it, and timm.create_model(..., checkpoint_path=FILE).
    Batch-norm statistics are the path's own; the vectors of spectral norms are computed from the weights at T.
    """
    require_other(pathlib.Path(path), out)
    loaded = Path.load(path)
    weights = loaded(position)
    recompute(norms_inside(loaded, position, spectral_norms(loaded.start)), weights)
    if dtype is not None:
        weights = {name: w.to(TYPES[dtype]) if w.is_floating_point() else w for name, w in weights.items()}
    origin = {"path": pathlib.Path(path).name, "builder": loaded.builder, "t": position}
    write_tensors(out, weights, {"format": "pt", "connectivity_hooks.sample": json.dumps(origin)})
    click.echo(f"{out}: the weights at t = {position:g} of {pathlib.Path(path).name}", err=True)
