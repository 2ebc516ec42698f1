"""``connectivity-hooks check CKPT``: conditions on one checkpoint, layer by layer."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from connectivity_hooks.checking import left_out, load_model, observe, verdicts
from connectivity_hooks.checkpoints import read
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options
from connectivity_hooks.cli.numbers import Count, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.task_options import task_flags, task_of, task_options
from connectivity_hooks.cli.terminal import NOT_MET, Display, print_json
from connectivity_hooks.contracts import Condition
from connectivity_hooks.registry import registry
from connectivity_hooks.reports.report import verdict_json
from connectivity_hooks.reports.tables import verdicts_table

EXAMPLES = """
\b
Example:
  connectivity-hooks check a.safetensors --model net.py:make --data digits --condition NAME
\b
The conditions that are installed: connectivity-hooks plugins
"""


@click.command(
    cls=method_command("conditions"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoint")
@task_options
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Condition to check; may be repeated.",
)
@click.option(
    "--layers", multiple=True, metavar="NAME", help="Layer, glob, NAME:input, or NAME[0] for one call; may be repeated."
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Split to look at.",
)
@click.option("--samples", type=Count(1), metavar="N", help="Look at N samples drawn at random.")
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="POOL",
    help="How pixels and tokens become neurons: mean (the default), first, last or class for one token, flatten for "
    "each one's; or LAYER=POOL for one layer or glob. What the batch's mask says is padding is left out; may be "
    "repeated.",
)
@click.option(
    "--axes",
    multiple=True,
    metavar="LETTERS",
    help="Axes of layers where they cannot be told, N the samples and C the neurons: TNC, NHWC, or LAYER=TNC for one; "
    "may be repeated.",
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(checkpoint: str, **given: Any) -> int:
    """Check conditions on CHECKPOINT, layer by layer.

    Exits with status 4 when a verdict is anything but "holds".
    """
    display = Display(quiet=given["as_json"])
    methods = _conditions(given, display)
    read_in = read(pathlib.Path(checkpoint))
    task = task_of(task_flags(given), [read_in], [checkpoint])
    model = load_model(read_in, task)
    looks = {key: given[key] for key in ("split", "samples", "axes", "seed")}
    observation = observe(model, task, layers=given["layers"] or None, pool=given["pools"] or "mean", **looks)
    if observation.left_out:
        display.say(left_out(observation))
    found = [verdict for method in methods for verdict in verdicts(method, observation, read_in.file.name)]
    for remark in observation.remarks():
        display.say(remark)
    if given["as_json"]:
        answer = {"file": read_in.file.name, "sha256": read_in.sha256}
        said = {"left_out": observation.left_out, "remarks": observation.remarks()}
        answers = {"conditions": [verdict_json(v) for v in found], **said}
        print_json({"checkpoint": answer, "task": task.describe(), **answers})
    else:
        click.echo(verdicts_table(found))
    return 0 if all(verdict.holds for verdict in found) else NOT_MET


def _conditions(given: dict[str, Any], display: Display) -> list[Condition]:
    known = registry()
    names = list(dict.fromkeys(given["conditions"]))
    kinds = [known.condition(name) for name in names]
    refuse_stray_options(given, names)
    return [make_method(kind, given, seed=given["seed"], progress=display) for kind in kinds]
