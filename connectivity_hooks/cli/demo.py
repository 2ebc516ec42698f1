"""``connectivity-hooks demo``: the whole way, from a training with hooks to a report, in under a minute."""

from __future__ import annotations

import pathlib

import click
from torch import nn

from connectivity_hooks.checking import check
from connectivity_hooks.checkpoints import save
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.terminal import print_json
from connectivity_hooks.connecting.measured import measured_pair
from connectivity_hooks.connecting.methods import Connecting, make_builder
from connectivity_hooks.connecting.pair import Pair, load_pair
from connectivity_hooks.connecting.work import path_file
from connectivity_hooks.contracts import Condition, Verdict
from connectivity_hooks.demo import EPOCHS, train
from connectivity_hooks.evaluation import Evaluation
from connectivity_hooks.features import Capture
from connectivity_hooks.progress import SILENT
from connectivity_hooks.registry import registry
from connectivity_hooks.reports.report import Report
from connectivity_hooks.tasks import Task, make_task

MODEL = "connectivity_hooks.demo:network"
BUILDERS = ("linear", "certified")
SHOWN = (1, 2, 5, 10, 20, EPOCHS)
# So little that a look takes a fraction of a second, and a tenth of the neurons: of all of them nothing is left to
# learn after the first epoch. A condition is given those of these options that it has.
PROBE = {"fraction": 0.1, "draws": 1, "iterations": 60}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    default="demo",
    show_default=True,
    metavar="DIR",
    help="Folder for checkpoints, path and report.",
)
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda …")
@json_option
@plugin_options
def command(out: pathlib.Path, device: str, as_json: bool) -> None:
    """Train two networks on scikit-learn's digits with the hooks on, connect them, write a report."""
    builders = [name for name in BUILDERS if name in registry().builders]
    if not builders:
        registry().builder(BUILDERS[0])  # says why there is none, before two trainings
    task = make_task(model=MODEL, data="digits", device=device)
    condition = next((entry.cls for entry in registry().conditions.values() if entry.cls.watched), None)
    with OutputFolder(out) as folder:
        files, verdicts = [], {}
        for name, seed in (("a", 1), ("b", 2)):
            click.echo(f"Training network {name} (seed {seed}), hooks on", err=True)
            watcher = _Watcher(task, condition)
            model = train(task, seed, watcher)
            files.append(folder.path / f"{name}.safetensors")
            save(model, files[-1], task=MODEL)
            verdicts[f"{name.upper()}: {files[-1].name}"] = watcher.last
        pair = load_pair(files[0], files[1], task)
        evaluations = [_connected(pair, task, builder, folder) for builder in builders]
        report = Report.of(evaluations, checkpoints=pair.end_points, conditions=verdicts)
        report.save(folder.path)
    if as_json:
        print_json(report.as_json())
        return
    for evaluation in evaluations:
        click.echo(evaluation.conclusion.headline)
    click.echo(report.table())
    click.echo(f"Report: {out / 'report.html'}")
    click.echo(f"The same by hand: connect {files[0]} {files[1]} --model {MODEL} --data digits --out DIR")


def _connected(pair: Pair, task: Task, builder: str, folder: OutputFolder) -> Evaluation:
    click.echo(f"Connecting by builder {builder}", err=True)
    evaluation = measured_pair(pair, task, Connecting(make_builder(builder, None, seed=0, progress=SILENT)))
    evaluation.path.save(path_file(folder.path, builder))
    return evaluation


class _Watcher:
    """Prints a line of what the hooks see after some of the epochs, and keeps the last verdicts."""

    def __init__(self, task: Task, condition: type[Condition] | None) -> None:
        self._task = task
        self._condition = condition
        self.last: tuple[Verdict, ...] = ()
        if condition:
            self._options = {name: PROBE[name] for name in PROBE if name in condition.Options.__annotations__}
            said = ", ".join(f"{name} {value:g}" for name, value in self._options.items())
            click.echo(f"  the figure of {condition.name} ({said}) for each layer;", err=True)
        click.echo("  in brackets: neurons active in the last batch", err=True)

    def __call__(self, epoch: int, loss: float, model: nn.Module, features: Capture) -> None:
        if epoch not in SHOWN:
            return
        active = {layer: float((features[layer] > 0).any(0).double().mean()) for layer in features}
        model.eval()
        if self._condition:
            self.last = check(model, self._task, self._condition.name, options=self._options)
        errors = {verdict.layer: f"{verdict.measured:4.0f}" for verdict in self.last if verdict.measured is not None}
        layers = [f"layer {layer}: {errors.get(layer, '   –')} ({share:4.0%})" for layer, share in active.items()]
        click.echo(f"  epoch {epoch:2d}  loss {loss:.4f}   {'   '.join(layers)}", err=True)
