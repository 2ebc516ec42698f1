"""The pivots of a whole module between two ends, and the optimizers that move them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks_curves.autoneb.geometry import distances, project_off, redistributed, tangent
from connectivity_hooks_curves.training.adam import adam_of, adam_step, moments_of, restore_moments
from connectivity_hooks_curves.training.curve import between, wide, write_scaled
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.untrained import untrained_between
from connectivity_hooks_curves.training.vectors import clip_to

_LATEST = 0.2
"""What a batch's loss counts in a pivot's: that of one batch alone turns the tangent to and fro."""


class Chain:
    """Pivots between two ends, evenly spaced on the straight line at first.

    Memory, in vectors of all parameters: the two ends, a gradient, and for each pivot the point, two moments of Adam
    and the best point.

    Args:
        flat: The module that is moved along the chain.
        a: Weights at t = 0.
        b: Weights at t = 1.
        pivots: How many between the ends.

    Attributes:
        points: Of the chain, ends included: a vector for each type of the module.
        shares: Of its length, that each segment is to have.
        ts: Of each point: the share of the length that lies before it.
        losses: Of each point, as the latest batches have it.
    """

    def __init__(self, flat: FlatModule, a: Weights, b: Weights, pivots: int) -> None:
        self._flat, self._ends = flat, (a, b)
        first, last = ([group.vector(end, wide(group.values.dtype)) for group in flat.groups] for end in (a, b))
        self._gradient = [torch.zeros_like(vector) for vector in first]
        self._views = [
            list(group.views(vector).values()) for group, vector in zip(flat.groups, self._gradient, strict=True)
        ]
        inner = [(i + 1) / (pivots + 1) for i in range(pivots)]
        self._begin([first, *([between(p, q, at) for p, q in zip(first, last, strict=True)] for at in inner), last])
        self.shares = [1 / (pivots + 1)] * (pivots + 1)
        self.ts = [0.0, *inner, 1.0]
        self.losses = torch.zeros(pivots + 2, device=first[0].device)
        self._best: tuple[list[list[Tensor]], list[float]] | None = None

    def _begin(self, points: list[list[Tensor]]) -> None:
        """Take points, with optimizers that have seen nothing."""
        self.points = points
        self._adams = [adam_of(point) for point in points[1:-1]]

    @property
    def pivots(self) -> int:
        """Points between the ends."""
        return len(self.points) - 2

    @property
    def is_a_point(self) -> bool:
        """Whether the ends are equal in all that is trained, or so near that squares of what they differ by are 0."""
        return distances([self.points[0], self.points[-1]]) == [0.0]

    def write(self, segment: int, at: float = 0.0) -> float:
        """Write into the module what lies so far along a segment; return its t."""
        vectors, t = self.points[segment], self.ts[segment]
        if at:
            vectors = [torch.lerp(p, q, at) for p, q in zip(vectors, self.points[segment + 1], strict=True)]
            t += at * (self.ts[segment + 1] - t)
        for group, vector in zip(self._flat.groups, vectors, strict=True):
            group.values.copy_(vector)
        return t

    def move(self, index: int, loss: Tensor, lr: float, weight_decay: float, clip: float | None) -> Tensor:
        """Take a step of one pivot by the gradient that the module has there, projected off the tangent.

        Returns:
            The norm of the gradient before it was clipped and projected, weight decay included.
        """
        norm = self._take_gradient(weight_decay, clip)
        self.losses[index].lerp_(loss.detach().to(self.losses), _LATEST)
        self._project(index)
        for point, gradient in zip(self.points[index], self._gradient, strict=True):
            point.grad = gradient
        adam_step(self._adams[index - 1], lr)
        return norm

    def _project(self, index: int) -> None:
        """Take out of the gradient what it has along the chain at one pivot."""
        before, here, after = self.points[index - 1 : index + 2]
        project_off(self._gradient, tangent(before, here, after, self.losses[index - 1], self.losses[index + 1]))

    def _take_gradient(self, weight_decay: float, clip: float | None) -> Tensor:
        for group, views in zip(self._flat.groups, self._views, strict=True):
            write_scaled(group.gradients(weight_decay), 1.0, views)
        return clip_to(self._gradient, clip)

    def are_finite(self) -> bool:
        """Say whether all points are finite; this waits for the device."""
        return all(bool(vector.isfinite().all()) for point in self.points for vector in point)

    def redistribute(self) -> None:
        """Let every segment have its share of the length again; t is what it is from then on."""
        for point, moved in zip(self.points[1:-1], redistributed(self.points, self.shares), strict=True):
            for vector, there in zip(point, moved, strict=True):
                vector.copy_(there)
        self.ts = _shares_before(distances(self.points))

    def insert(self, wanted: Sequence[tuple[int, float]], losses: Sequence[float]) -> None:
        """Begin a cycle: insert pivots so far along segments, the last segment first; losses are those of points now.

        A segment that is divided shares what it had, so that what was inserted stays where it is needed.
        """
        points, shares, known = list(self.points), list(self.shares), list(losses)
        for segment, at in wanted:
            pair = zip(points[segment], points[segment + 1], strict=True)
            points.insert(segment + 1, [torch.lerp(p, q, at) for p, q in pair])
            shares[segment : segment + 1] = [at * shares[segment], (1 - at) * shares[segment]]
            known.insert(segment + 1, known[segment] + at * (known[segment + 1] - known[segment]))
        self._begin(points)
        self.shares, self.losses = shares, torch.tensor(known, dtype=self.losses.dtype, device=self.losses.device)
        self.ts = _shares_before(distances(points))

    def keep(self) -> None:
        """Remember the chain as the best so far."""
        self._best = ([[vector.clone() for vector in point] for point in self.points[1:-1]], list(self.ts))

    def take_best(self) -> None:
        """Go back to the best chain."""
        if self._best is not None:
            inner, self.ts = self._best
            self.points = [self.points[0], *inner, self.points[-1]]

    def weights(self) -> tuple[Weights, ...]:
        """Return all points as weights; what is not trained lies on the straight line."""
        a, b = self._ends
        inner = zip(self.points[1:-1], self.ts[1:-1], strict=True)
        return (a, *(self._flat.weights(point, untrained_between(a, b, t)) for point, t in inner), b)

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return everything the next step depends on: tensors by name, and a note."""
        found = _named("pivot", self.points[1:-1]) | {"losses": self.losses}
        for i, adam in enumerate(self._adams):
            found |= moments_of(adam, f"adam.{i}")
        best, ts = self._best if self._best is not None else ([], [])
        return found | _named("best", best), {"shares": self.shares, "ts": self.ts, "best": ts}

    def restore(self, tensors: Mapping[str, Tensor], note: Mapping[str, list[float]]) -> None:
        """Go on from a state."""
        first, last = self.points[0], self.points[-1]
        self.shares, self.ts = list(note["shares"]), list(note["ts"])
        self._begin([first, *_unnamed("pivot", tensors, len(self.ts) - 2, first), last])
        self.losses = tensors["losses"].to(self.losses.device).clone()
        if note["best"]:
            self._best = (_unnamed("best", tensors, len(note["best"]) - 2, first), list(note["best"]))
        for i, adam in enumerate(self._adams):
            restore_moments(adam, tensors, f"adam.{i}")


def _shares_before(gaps: Sequence[float]) -> list[float]:
    """Return for each point of a chain the share of its length before it: exactly 0 and 1 at its ends."""
    reached = list(itertools.accumulate(gaps, initial=0.0))
    return [*(there / reached[-1] for there in reached[:-1]), 1.0]


def _named(what: str, points: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    return {f"{what}.{i}.{g}": vector for i, point in enumerate(points) for g, vector in enumerate(point)}


def _unnamed(what: str, tensors: Mapping[str, Tensor], count: int, like: Sequence[Tensor]) -> list[list[Tensor]]:
    return [
        [tensors[f"{what}.{i}.{g}"].to(vector.device).clone() for g, vector in enumerate(like)] for i in range(count)
    ]
