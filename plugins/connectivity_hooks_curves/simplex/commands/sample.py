"""``connectivity-hooks simplex-sample FILE --out DIR``: checkpoints out of a volume."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import click
import torch

from connectivity_hooks.checkpoints import write_tensors
from connectivity_hooks.cli.toolkit import (
    Count,
    Display,
    OutputFolder,
    Seed,
    correct_option,
    correction_of,
    method_command,
    optional_task_options,
    plugin_options,
    refuse_stray_options,
    single,
    task_flags,
    task_of,
)
from connectivity_hooks.contracts import Correction
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation import computing_type, corrected_sample, sampled
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.simplex.complex import Complex, Place
from connectivity_hooks_curves.simplex.file import read_complex


@click.command(cls=method_command("corrections"), context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", metavar="FILE")
@click.option("--draws", type=Count(1, 100_000), metavar="N", help="How many to draw; 1 if left out.")
@click.option(
    "--weights", "typed", metavar="W,W,…", help="The shares of all vertices instead, checkpoints first; together 1."
)
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), required=True, metavar="DIR", help="Write the checkpoints here."
)
@correct_option()
@optional_task_options
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(file: str, draws: int | None, typed: str | None, out: pathlib.Path, **given: Any) -> None:
    """Draw checkpoints uniformly from the volume in the simplex file FILE.

    They have the model's own names, in the types of the first checkpoint: load_state_dict takes them. Batch-norm
    statistics are combined ones unless a correction measures them, for which --model and --data are needed.
    """
    display = Display()
    if draws is not None and typed is not None:
        raise UsageError("--draws and --weights are both given; say one of them")
    correction = _correction(given, display)
    shares = None if typed is None else _shares(typed)
    found = read_complex(file)
    if shares is not None and len(shares) != len(found.vertices):
        raise UsageError(f"--weights: expected {len(found.vertices)}, one for each vertex, found {len(shares)}")
    places = _drawn(found, given["seed"], draws or 1) if shares is None else {"weights": found.placed(shares)}
    task = None if correction is None else _task(found, given)
    by = "" if correction is None else f", corrected by {correction.name}"
    with OutputFolder(out) as folder:
        for name, place in places.items():
            target = folder.path / f"{name}.safetensors"
            if target.exists() and target.samefile(file):
                raise UsageError(f"{target}: is the file that is read; choose another --out")
            weights = _stored(found, _weights(found, place, task, correction))
            write_tensors(target, weights, _origin(file, found, place, correction))
            display.say(f"{target}: out of {pathlib.Path(file).name}{by}")


def _drawn(found: Complex, seed: int, count: int) -> dict[str, Place]:
    return {f"draw-{seed}-{number}": found.drawn(seed, number) for number in range(count)}


def _shares(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights: expected numbers with commas between them, found {text[:60]!r}") from None


def _correction(given: Mapping[str, Any], display: Display) -> Correction | None:
    """Make the correction before any file is opened; flags that it alone would need are refused without one."""
    correction = correction_of(given, display)
    refuse_stray_options(given, single(given["correct"]))
    stray = [flag for flag in ("model", "data") if given[flag] is not None]
    if correction is None and stray:
        raise UsageError(f"--{stray[0]} is given, but nothing is measured; say --correct NAME, or leave it out")
    if correction is not None and not correction.everywhere:
        raise UsageError(f"--correct {correction.name}: it fits the weights between two ends; use batch-norm")
    if correction is not None and given["data"] is None:
        raise UsageError(f"--correct {correction.name} measures: say --data, and --model")
    return correction


def _task(found: Complex, given: Mapping[str, Any]) -> Task:
    dtype = str(computing_type(_standing(found.weights[0]))).removeprefix("torch.")
    return task_of(task_flags({**given, "dtype": dtype}), [], [])


def _standing(weights: Weights) -> Path:
    """Return a path that stays where it is, which is what a correction is asked about."""
    return Path.from_points([weights, weights])


def _weights(found: Complex, place: Place, task: Task | None, correction: Correction | None) -> Weights:
    path = _standing(found.at(place))
    return sampled(path, 0.5) if task is None or correction is None else corrected_sample(path, 0.5, task, correction)


def _stored(found: Complex, weights: Weights) -> Weights:
    """Return weights in the types of the first checkpoint."""
    return {**weights, **{name: weights[name].to(getattr(torch, dtype)) for name, dtype in found.dtypes.items()}}


def _origin(file: str, found: Complex, place: Place, correction: Correction | None) -> dict[str, str]:
    vertices = [number + 1 for number in found.simplices[place.simplex]]
    origin: dict[str, Any] = {"simplex": pathlib.Path(file).name, "vertices": vertices, "weights": list(place.shares)}
    if correction is not None:
        origin |= {"correction": correction.name, "correction_options": correction.used_options()}
    return {"format": "pt", "connectivity_hooks.sample": json.dumps(origin)}
