"""Whose predictions are averaged: points of a path, the mean of their weights, and checkpoints beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from connectivity_hooks.contracts import Correction
from connectivity_hooks.evaluation import Passes, corrected_sample, sampled
from connectivity_hooks.model import Weights, same
from connectivity_hooks.paths import Path, arc_lengths
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.set import CheckpointSet, weights_of_entry

_NODES = 4097
"""Of a curve, between which positions are interpolated."""


@dataclass(frozen=True)
class Member:
    """A network by itself.

    Attributes:
        name: What reports call it.
        t: Where on the path it is; None where it is not on it.
        weights: Gives t, or the weights; asked for whenever it is run.
    """

    name: str
    t: float | None
    weights: Callable[[], float | Weights]


def evenly(path: Path, count: int, parameters: set[str]) -> list[float]:
    """Return `count` positions from 0 to 1, evenly spaced by the length of the path over the parameters.

    Args:
        path: The path; one without length is divided by t.
        count: Two or more.
        parameters: Names that are coordinates.
    """
    nodes = sorted(
        {*np.linspace(0, 1, _NODES).tolist(), *path.positions} if not path.shape.straight else path.positions
    )
    arc = arc_lengths(path, nodes, parameters)
    along = arc if arc[-1] > 0 else np.asarray(nodes)
    inner = np.interp(np.linspace(0, along[-1], count)[1:-1], along, nodes)
    return [0.0, *(float(t) for t in inner), 1.0]


def on_path(path: Path, ts: Sequence[float], task: Task, correction: Correction | None) -> list[Member]:
    """Return the points of a path at some t; of corrected ones, those tensors that the correction changes are kept."""
    if correction is None:
        return [Member(name, t, _constant(t)) for name, t in zip(point_names(ts), ts, strict=True)]
    with Passes(path, task, correction) as passes:
        changed = [_changed(path, t, passes) for t in ts]
    named = zip(point_names(ts), ts, changed, strict=True)
    return [Member(name, t, _edited(path, t, edits)) for name, t, edits in named]


def weight_mean(path: Path, ts: Sequence[float], task: Task, correction: Correction | None) -> Member:
    """Return the network of the mean of a path's weights at some t, taken in float64 and corrected as the points are.

    A correction sees it in the middle of the way from one end over it to the other. Tensors of integers are the first
    point's.
    """
    total = {name: tensor.double() for name, tensor in path(ts[0]).items() if tensor.is_floating_point()}
    for t in ts[1:]:
        point = path(t)
        for name, tensor in total.items():
            tensor += point[name]
    first = path.start
    mean = {name: (total[name] / len(ts)).to(first[name].dtype) if name in total else first[name] for name in first}
    over = Path.from_points([path.start, mean, path.end])
    weights = sampled(over, 0.5) if correction is None else corrected_sample(over, 0.5, task, correction)
    return Member("mean of weights", None, lambda: weights)


def beside(checkpoints: CheckpointSet, task: Task, taken: Collection[str]) -> list[Member]:
    """Return checkpoints that are not on the path; each is read whenever it is run.

    Args:
        checkpoints: The checkpoints.
        task: Has the model.
        taken: Names that other rows have.
    """
    found = []
    for entry in checkpoints.entries:
        name = f"{entry.name} (beside)" if entry.name in taken else entry.name
        found.append(Member(name, None, partial(weights_of_entry, entry, task, checkpoints.dtype)))
    return found


def point_names(ts: Sequence[float]) -> list[str]:
    """Return what points are called, no two alike: A and B are the ends."""
    inner = [f"t = {t:.3f}" for t in ts[1:-1]]
    if len(set(inner)) < len(inner):
        inner = [f"t = {t!r}" for t in ts[1:-1]]
    return ["A", *inner, "B"]


def _constant(t: float) -> Callable[[], float]:
    return lambda: t


def _changed(path: Path, t: float, passes: Passes) -> Weights:
    plain, found = sampled(path, t), passes.weights(t)
    return {name: tensor.clone() for name, tensor in found.items() if not same(tensor, plain[name].to(tensor))}


def _edited(path: Path, t: float, edits: Weights) -> Callable[[], Weights]:
    return lambda: {**sampled(path, t), **edits}


def coordinates(model: torch.nn.Module, path: Path) -> set[str]:
    """Return the names of parameters, which a path's length is over."""
    return {name for name, _ in model.named_parameters()} & path.start.keys()
