"""``connectivity-hooks star A B C …``: a certified path from each checkpoint to one hub, and so between every two."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from connectivity_hooks.checkpoints import make_folder, read, require_outlines
from connectivity_hooks.cli.toolkit import (
    Display,
    OutputFolder,
    Seed,
    augment_option,
    json_option,
    plain,
    plugin_options,
    print_json,
    require_shardable,
    shard_option,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks.connecting import (
    Connecting,
    Pair,
    PairWork,
    built_with,
    data_digest,
    load_pair,
    measured_pair,
    path_at,
    path_file,
    still_connects,
    told,
)
from connectivity_hooks.contracts import make_options
from connectivity_hooks.evaluation import Evaluation, Measuring, evaluate
from connectivity_hooks.paths import joined
from connectivity_hooks.tasks import Task
from connectivity_hooks_theorem.certified.builder import Certified
from connectivity_hooks_theorem.certified.search.effort import EFFORTS

EXAMPLES = """
\b
Example:
  connectivity-hooks star run*/last.safetensors --hub hub.safetensors --out star \\
    --model net.py:make --data mnist.npz --normalize 0.1307,0.3081
"""


@dataclass(frozen=True)
class _Ray:
    """One checkpoint's path to the hub."""

    name: str
    evaluation: Evaluation


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C …")
@task_options
@augment_option
@click.option("--hub", required=True, metavar="FILE", help="A checkpoint made by `connectivity-hooks hub`.")
@click.option(
    "--effort",
    type=click.Choice(list(EFFORTS)),
    default="normal",
    show_default=True,
    help="What is tried for each sub-network.",
)
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="DIR",
    help="Write the path of each checkpoint to the hub here; those there already are kept.",
)
@click.option("--pairs", is_flag=True, help="Write the joined path of every two checkpoints too.")
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@shard_option("checkpoints are dealt out. Then the same command without --shard.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, **given: Any) -> None:
    """Connect every checkpoint to one hub, and through it every two of them.

    K checkpoints cost K paths. The loss on the way from one to another over the hub is bounded by the larger of both
    paths' bounds, at every t.
    """
    require_shardable({**given, "out": out})
    display = Display(quiet=given["as_json"])
    task = _task(checkpoints, given)
    options = {"hub": given["hub"], "effort": given["effort"]}
    builder = Certified(make_options(Certified.Options, options, "certified"), seed=given["seed"], progress=display)
    how = Connecting(builder, measuring=Measuring(points=2, refine=0))  # its points are what is proven
    named = _named(checkpoints)
    if given["shard"]:
        _share(out, given["shard"].of(named), task, how, display, given["as_json"])
        return
    with OutputFolder(out) as folder:
        rays = _rays(folder.path, named, task, how, display)
        for left, right in itertools.combinations(rays, 2) if given["pairs"] else ():
            whole = joined(left.evaluation.path, right.evaluation.path)
            whole.save(path_file(folder.path, f"{left.name}-{right.name}"))
    if given["as_json"]:
        print_json({"checkpoints": {ray.name: _figures(ray) for ray in rays}, "pairs": _pairs(rays)})
        return
    for ray in rays:
        click.echo(plain(f"{ray.name}: {ray.evaluation.conclusion.headline}"))
    for pair in _pairs(rays):
        click.echo(plain(_sentence(pair)))


def _task(checkpoints: Sequence[str], given: Mapping[str, Any]) -> Task:
    """Make the task, and compare what the headers of all files say with the model before any tensor is read."""
    files = [*checkpoints, given["hub"]]
    opened = [read(pathlib.Path(file)) for file in files]
    task = task_of(task_flags(given), opened, files)
    require_outlines(opened, task.structure())
    return task


def _named(files: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, file): the stem, with its folder's name or a number where stems are the same."""
    stems = [pathlib.Path(file).stem for file in files]
    longer = [f"{pathlib.Path(file).resolve().parent.name}-{stem}" for file, stem in zip(files, stems, strict=True)]
    for names in (stems, longer):
        if len(set(names)) == len(files):
            return list(zip(names, files, strict=True))
    return [(f"{number}-{stem}", file) for number, (stem, file) in enumerate(zip(stems, files, strict=True))]


def _share(
    folder: pathlib.Path,
    named: Sequence[tuple[str, str]],
    task: Task,
    how: Connecting,
    display: Display,
    as_json: bool,
) -> None:
    """Make the paths of some checkpoints, beside other shards that make theirs in the same folder."""
    make_folder(folder)
    rays = _rays(folder, named, task, how, display)
    if as_json:
        print_json({"checkpoints": {ray.name: _figures(ray) for ray in rays}})
        return
    for ray in rays:
        click.echo(plain(f"{ray.name}: {ray.evaluation.conclusion.headline}"))


def _rays(
    folder: pathlib.Path, named: Sequence[tuple[str, str]], task: Task, how: Connecting, display: Display
) -> list[_Ray]:
    data = data_digest(task)
    rays = []
    for name, file in named:
        pair = load_pair(file, how.builder.options.hub, task)
        work = PairWork(folder, name, how.subject(pair, task, data), display)
        evaluation = _still_proven(work.file, pair, task, how, display) or measured_pair(pair, task, how, work, display)
        work.finish()
        rays.append(_Ray(name, evaluation))
    return rays


def _still_proven(file: pathlib.Path, pair: Pair, task: Task, how: Connecting, display: Display) -> Evaluation | None:
    """Return the evaluation of an earlier run's path; None where there is none that can be kept."""
    path = path_at(file, display)
    if path is None:
        return None
    if path.end_points != pair.end_points or dict(path.options) != built_with(how.builder, task):
        return None
    if path.alignment is not None or not still_connects(path, pair, task):  # two ways meet at the hub itself
        display.say(f"{file.name} is built anew: it does not lead from its checkpoint to the hub")
        return None
    evaluation = evaluate(path, task, **vars(how.measuring), progress=display)
    if not evaluation.proven:
        display.say(f"{file.name} is built anew: it is not proven: {'; '.join(evaluation.proof.gaps)}")
        return None
    display.say(f"{file.name} is kept: it was built from the same files with the same options")
    return told(evaluation)


def _figures(ray: _Ray) -> dict[str, Any]:
    barriers = ray.evaluation.barriers
    return {
        "file": f"{ray.name}.path.safetensors",
        "bound": dict(ray.evaluation.bound),
        "loss": {split: figures.loss_ends[0] for split, figures in barriers.items()},
        "error_max": {split: figures.error_max for split, figures in barriers.items()},
    }


def _pairs(rays: Sequence[_Ray]) -> list[dict[str, Any]]:
    """Return for every two checkpoints the bound of the way over the hub: null where one of its halves has none."""
    pairs = []
    for left, right in itertools.combinations(rays, 2):
        bounds = [ray.evaluation.bound["train"] for ray in (left, right)]
        proven = [bound for bound in bounds if bound is not None]
        pairs.append({"a": left.name, "b": right.name, "bound": max(proven) if len(proven) == len(bounds) else None})
    return pairs


def _sentence(pair: dict[str, Any]) -> str:
    if pair["bound"] is None:
        return f"{pair['a']} to {pair['b']}: nothing is proven"
    return f"{pair['a']} to {pair['b']}: the train loss is proven never to exceed {pair['bound']:.4g}"
