"""``connectivity-hooks stability FOLDER``: the barrier between copies of a training, by the step at which they part."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import click

from connectivity_hooks.checkpoints import read
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.measuring_options import measuring, measuring_options
from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options, single
from connectivity_hooks.cli.numbers import Count, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.results import show
from connectivity_hooks.cli.task_options import augment_option, task_flags, task_of, task_options
from connectivity_hooks.cli.terminal import Display
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.registry import registry
from connectivity_hooks.stability.analysis import analyse
from connectivity_hooks.stability.finished_pairs import FinishedPairs
from connectivity_hooks.stability.inspection import find, inspect

EXAMPLES = """
\b
Example:
  connectivity-hooks stability runs --model net.py:make --data mnist.npz --normalize 0.1307,0.3081 --out report
"""


@click.command(
    cls=method_command("builders", "aligners", "corrections"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("folder", type=click.Path(path_type=pathlib.Path), metavar="FOLDER")
@task_options
@augment_option
@click.option("--k", "steps", type=Count(0), multiple=True, metavar="K", help="Only this k; may be repeated.")
@click.option(
    "--builder", default="linear", show_default=True, metavar="NAME", help="How a path between two copies is made."
)
@click.option("--align", metavar="NAME", help="Replace one copy by its nearest that is equal as a function.")
@measuring_options
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    metavar="DIR",
    help="Write the report here; pairs measured there before are kept.",
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(folder: pathlib.Path, out: pathlib.Path | None, **given: Any) -> None:
    """Say from which step on a training's outcome does not depend on the order of its data (Frankle et al. 2020).

    FOLDER holds k_00000000/, k_00000500/ … with two or more final checkpoints each: copies of one training that share
    its first k steps and were then trained on with other orders of the data (ch.copies makes them). Every two copies
    of one k are connected; the barrier between them, loss and error on every split, is reported as a function of k.
    """
    display = Display(quiet=given["as_json"])
    how = _connecting(given, display)
    found = find(folder, given["steps"] or None)
    first = next(iter(next(iter(found.values())).values()))
    task = task_of(task_flags(given), [read(first)], [str(first)])
    inspect(found, task)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(OutputFolder(out)) if out else None
        result = analyse(found, task, how, FinishedPairs(place.path / "pairs", display) if place else None, display)
        if place:
            result.save(place.path)
    show(result, [result.conclusion], given["as_json"], out and out / "stability.html")


def _connecting(given: Mapping[str, Any], display: Display) -> Connecting:
    known = registry()
    builder = known.builder(given["builder"])
    aligner = known.aligner(given["align"]) if given["align"] else None
    refuse_stray_options(given, [builder.name, *single(given["align"], given["correct"])])
    return Connecting(
        make_method(builder, given, seed=given["seed"], progress=display),
        make_method(aligner, given, seed=given["seed"], progress=display) if aligner else None,
        measuring(given, display),
    )
