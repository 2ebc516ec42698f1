"""``connectivity-hooks verify PATH``: every claim of a path file checked again."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from connectivity_hooks.checkpoints import read, require_outlines
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.numbers import Count, Number, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.task_options import task_flags, task_of, task_options
from connectivity_hooks.cli.terminal import NOT_MET, Display, plain, print_json
from connectivity_hooks.json_values import finite
from connectivity_hooks.verification import Verification, verify

EXAMPLES = """
\b
Example:
  connectivity-hooks verify report/certified.path.safetensors --checkpoint a.safetensors --checkpoint b.safetensors \\
    --model net.py:make --data mnist.npz --normalize 0.1307,0.3081
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="PATH")
@task_options
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="FILE",
    help="The checkpoint the path starts at, then the one it ends at: digests and weights are compared.",
)
@click.option(
    "--interior",
    type=Count(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Random t inside each segment at which outputs and loss are computed.",
)
@click.option(
    "--fail-above", type=Number(), metavar="X", help="Exit with 4 when the training loss is not proven to stay below X."
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(path: str, **given: Any) -> int:
    """Check every claim of the path file PATH from the file, the model and the data alone.

    That the model is the file's, what moves in each segment, that constant segments are constant and convex ones move
    the output layer alone, the loss at every point and the bound it proves. Exits with status 4 when a claim does not
    hold; the claim is named.
    """
    display = Display(quiet=given["as_json"])
    if len(given["checkpoints"]) not in (0, 2):
        raise click.UsageError("--checkpoint: expected both ends of the path or none")
    ends = [read(pathlib.Path(file)) for file in given["checkpoints"]]
    task = task_of(task_flags(given), ends, list(map(str, given["checkpoints"])))
    require_outlines(ends, task.structure())  # their headers, before any tensor is read
    found = verify(
        pathlib.Path(path),
        task,
        checkpoints=given["checkpoints"],
        interior=given["interior"],
        seed=given["seed"],
        progress=display,
    )
    if given["as_json"]:
        print_json(finite(found.as_json()))
    else:
        _show(found)
    return _status(found, given["fail_above"])


def _show(found: Verification) -> None:
    click.echo(_headline(found))
    for finding in found.findings:
        click.echo(plain(f"  {finding}"))
    for sentence in found.sentences():
        click.echo(plain(f"  {sentence}"))


def _headline(found: Verification) -> str:
    if not found.holds:
        return "Refuted: the file is not what it says."
    if found.unseen_alignment:
        return "Verified, but for the alignment that it records: say both checkpoints with --checkpoint to compare it."
    if found.unseen_model:
        return "Verified, but for what the file says of the model beside its weights: of the one given it is not known."
    return "Verified: every claim of the file holds."


def _status(found: Verification, limit: float | None) -> int:
    if not found.holds:
        return NOT_MET
    bound = next(iter(found.bound.values()))
    return NOT_MET if limit is not None and (bound is None or bound > limit) else 0
