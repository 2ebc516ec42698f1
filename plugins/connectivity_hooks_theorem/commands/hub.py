"""``connectivity-hooks hub``: the network at which certified paths meet."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import click
import torch
from torch import nn

from connectivity_hooks.checkpoints import require_target, write_tensors
from connectivity_hooks.cli.toolkit import (
    Amount,
    Display,
    Seed,
    augment_option,
    json_option,
    plugin_options,
    print_json,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks.evaluation import score, summarise
from connectivity_hooks.model import assign, weights_of
from connectivity_hooks.tasks import Split, Task
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.hub import train_hub
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.setting import Setting

EXAMPLES = """
\b
Example:
  connectivity-hooks hub --model net.py:make --data mnist.npz --normalize 0.1307,0.3081 --out hub.safetensors
  connect a.safetensors b.safetensors --model net.py:make --data mnist.npz --normalize 0.1307,0.3081 \\
    --builder certified --certified.hub hub.safetensors
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@task_options
@augment_option
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The safetensors file to write.",
)
@click.option(
    "--effort", type=click.Choice(list(EFFORTS)), default="normal", show_default=True, help="How long to train."
)
@click.option(
    "--target-loss",
    type=Amount(0, min_open=True),
    default=1e-4,
    show_default=True,
    metavar="X",
    help="Stop at this training loss; paths over the hub are bounded by no less than the hub's own.",
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(out: pathlib.Path, **given: Any) -> None:
    """Train a hub: a network that uses half of every layer's neurons, the others silent.

    It is an ordinary checkpoint of the model. Every solution of the task connects to it by a certified path, so K
    checkpoints need K paths to be connected in pairs, each checkpoint's sub-networks found once.
    """
    display = Display(quiet=given["as_json"])
    require_target(out)
    task = task_of(task_flags(given), [], [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given["seed"])
        model = task.model()
    network = read_task(weights_of(model), task)
    setting = Setting(network, task, EFFORTS[given["effort"]], given["seed"])
    weights, _, _ = train_hub(model, setting, given["target_loss"], display)
    origin = {"effort": given["effort"], "target_loss": given["target_loss"], "seed": given["seed"]}
    write_tensors(out, weights, {"format": "pt", "connectivity_hooks.hub": json.dumps(origin)})
    assign(weights_of(model), weights)
    figures = {split.name: _figures(model, split, task) for split in task.splits()}
    if given["as_json"]:
        print_json({"file": out.name, **figures})
        return
    for name, (loss, error) in ((name, figure.values()) for name, figure in figures.items()):
        click.echo(f"{name}: loss {loss:.4g}" + ("" if error is None else f", error {100 * error:.2f} %"))


def _figures(model: nn.Module, split: Split, task: Task) -> dict[str, float | None]:
    batches = split.batches(task.batch_size)
    with torch.no_grad():
        scores = score(((task.forward(model, inputs), targets) for inputs, targets in batches), task.loss)
    at_itself = summarise(0.0, split.name, scores, (scores, scores), "forward")
    return {"loss": at_itself.loss, "error": at_itself.error}
