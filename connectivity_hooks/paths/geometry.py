"""How long a path is, and how far along it a point lies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.path import Path

Step: TypeAlias = tuple[Weights, Weights]

# Of the trapezoid rule along a curve: its error falls with the square of their number, to about 1e-7 of the length.
_NODES = 4097
# Numbers of a tensor widened to float64 at a time: 2 MB for each of four operands stay in a processor's cache.
_CHUNK = 1 << 18


def arc_lengths(path: Path, ts: Sequence[float], parameters: Collection[str]) -> npt.NDArray[np.float64]:
    """Return the Euclidean length of the path from 0 to each t, in float64.

    Args:
        path: The path. A polyline is exact; the speed of a Bezier curve, ‖φ'(t)‖, is integrated on 4097 nodes.
        ts: Points in [0, 1].
        parameters: Names that are coordinates; buffers such as running statistics are not.
    """
    names = sorted(parameters)  # sets have another order in every process, and sums another last digit
    if path.shape.straight:
        steps = [math.sqrt(_inner(step, step, names)) for step in itertools.pairwise(path.points())]
        knots = np.concatenate([[0.0], np.cumsum(steps)])
        return np.asarray(np.interp(ts, path.positions, knots), dtype=np.float64)
    grid = np.linspace(0, 1, _NODES)
    speed = _bezier_speed(list(itertools.pairwise(path.points())), names, grid)
    travelled = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(grid))])
    return np.asarray(np.interp(ts, grid, travelled), dtype=np.float64)


def _bezier_speed(
    steps: list[Step], parameters: Collection[str], t: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    degree = len(steps)
    gram = np.array([[_inner(left, right, parameters) for right in steps] for left in steps])
    bernstein = np.stack([math.comb(degree - 1, i) * (1 - t) ** (degree - 1 - i) * t**i for i in range(degree)], axis=1)
    squared = np.einsum("ti,ij,tj->t", bernstein, gram, bernstein)
    return np.asarray(degree * np.sqrt(np.maximum(squared, 0)), dtype=np.float64)


def _inner(left: Step, right: Step, parameters: Collection[str]) -> float:
    """Return the inner product of two steps, each from one point to the next, in float64 and a chunk at a time."""
    total = 0.0
    for name in parameters:
        (a, b), (c, d) = ((before[name], after[name]) for before, after in (left, right))
        if a is b or c is d:
            continue
        once = left is right  # a straight step: half of the work
        operands = (a, b) if once else (a, b, c, d)
        for chunk in zip(*(tensor.reshape(-1).split(_CHUNK) for tensor in operands), strict=True):
            p, q, *others = (part.double() for part in chunk)
            step = q - p
            total += torch.dot(step, step if once else others[1] - others[0]).item()
    return total
