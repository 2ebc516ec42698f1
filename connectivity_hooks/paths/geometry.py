"""How long a path is, and how far along it a point lies."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from connectivity_hooks.paths.path import Path
from connectivity_hooks.paths.weights import Weights

_NODES = 4097


def arc_lengths(path: Path, ts: Sequence[float], parameters: Collection[str]) -> npt.NDArray[np.float64]:
    """Return the Euclidean length of the path from 0 to each t, in float64.

    Args:
        path: The path. A polyline is exact; the speed of a Bezier curve, ‖φ'(t)‖, is integrated on 4097 nodes.
        ts: Points in [0, 1].
        parameters: Names that are coordinates; buffers such as running statistics are not.
    """
    steps = list(_steps(path, parameters))
    if path.basis == "polyline":
        knots = np.concatenate([[0.0], np.cumsum([math.sqrt(_inner(step, step)) for step in steps])])
        return np.asarray(np.interp(ts, path.positions, knots), dtype=np.float64)
    grid = np.linspace(0, 1, _NODES)
    speed = _bezier_speed(steps, grid)
    travelled = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(grid))])
    return np.asarray(np.interp(ts, grid, travelled), dtype=np.float64)


def _bezier_speed(steps: list[Weights], t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    degree = len(steps)
    gram = np.array([[_inner(left, right) for right in steps] for left in steps])
    bernstein = np.stack([math.comb(degree - 1, i) * (1 - t) ** (degree - 1 - i) * t**i for i in range(degree)], axis=1)
    squared = np.einsum("ti,ij,tj->t", bernstein, gram, bernstein)
    return np.asarray(degree * np.sqrt(np.maximum(squared, 0)), dtype=np.float64)


def _steps(path: Path, parameters: Collection[str]) -> list[Weights]:
    steps = []
    previous: Weights = {}
    for weights in path.points():
        if previous:
            moved = [name for name in parameters if weights[name] is not previous[name]]
            steps.append({name: weights[name].double() - previous[name].double() for name in moved})
        previous = weights
    return steps


def _inner(a: Weights, b: Weights) -> float:
    return sum(torch.sum(a[name] * b[name]).item() for name in a.keys() & b.keys())
