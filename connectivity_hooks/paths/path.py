"""A path: t in [0, 1] to weights, made of points, a basis, and a guarantee for every segment."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.basis import POLYLINE, Basis, basis_named
from connectivity_hooks.paths.edits import Edit, apply, edits_between

Guarantee = Literal["constant", "convex", "measured"]

CONSTANT: Guarantee = "constant"
CONVEX: Guarantee = "convex"
MEASURED: Guarantee = "measured"

# Nearer points cannot be told apart by what is measured between them; a million points lie a thousand times farther.
CLOSEST = 1e-9


@dataclass(frozen=True)
class EndPoint:
    """The checkpoint a path starts or ends at: file name, sha256 of its bytes, floating type it was stored in."""

    file: str
    sha256: str
    dtype: str = ""


@dataclass(frozen=True)
class Path:
    """Weights along t in [0, 1].

    A ``polyline`` goes straight from point to point, reaching point i at ``positions[i]``; a ``bezier`` curve is
    φ(t) = Σ_i C(k,i) (1-t)^(k-i) t^i w_i and has one segment. Points are held as edits to the point before, so a path
    whose points differ in blocks costs little more than one model. Integer tensors are never interpolated: they have
    the value of the last point reached.

    Attributes:
        start: Weights of the first point.
        edits: For each further point, what changes from the point before.
        basis: ``polyline`` or ``bezier``.
        positions: t of each point of a polyline, from 0 to 1; evenly spaced for a Bezier curve, whose points between
            the ends do not lie on it. Where segments meet is `knots`.
        guarantees: For each segment ``constant`` (the function does not change), ``convex`` (only the output layer
            changes, so the loss is convex along it) or ``measured`` (nothing is known between measurements).
        end_points: The two checkpoints, when they came from files.
        alignment: What an aligner did to the second checkpoint, or None.
        builder: Name of the builder.
        options: The builder's options.
        remarks: What the builder said of its work, by name: how long it took, and why no longer.
        facts: What makes the model's function beside its own weights, see `Adapter.facts`; empty where it is not known.

    Raises:
        ValueError: Positions or guarantees do not fit the number of points.
    """

    start: Weights
    edits: tuple[tuple[Edit, ...], ...]
    basis: str = POLYLINE.name
    positions: tuple[float, ...] = (0.0, 1.0)
    guarantees: tuple[Guarantee, ...] = (MEASURED,)
    end_points: tuple[EndPoint, EndPoint] | None = None
    alignment: Mapping[str, object] | None = None
    builder: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    remarks: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = basis_named(self.basis)
        if not self.edits or len(self.positions) != len(self.edits) + 1:
            raise ValueError(f"a path of {len(self.edits) + 1} points cannot have {len(self.positions)} positions")
        rising = all(left < right for left, right in zip(self.positions, self.positions[1:], strict=False))
        if self.positions[0] != 0 or self.positions[-1] != 1 or not rising:
            raise ValueError("positions: expected to rise from 0 to 1")
        if min(right - left for left, right in itertools.pairwise(self.positions)) < CLOSEST:
            raise ValueError(f"positions: expected to lie {CLOSEST:g} apart at least")
        segments = len(self.knots) - 1
        if len(self.guarantees) != segments:
            raise ValueError(f"guarantees: expected one for each of {segments} segments, found {len(self.guarantees)}")
        for guarantee in self.guarantees:
            if guarantee not in (CONSTANT, CONVEX, MEASURED):
                raise ValueError(f"guarantees: expected constant, convex or measured, found {guarantee!r}")
        if not shape.straight and self.guarantees != (MEASURED,):
            raise ValueError(f"guarantees: a {shape.name} curve has none, only measured")

    @classmethod
    def from_points(
        cls,
        points: Sequence[Weights],
        *,
        basis: str = POLYLINE.name,
        positions: Sequence[float] | None = None,
        guarantees: Sequence[Guarantee] | None = None,
    ) -> Path:
        """Make a path of whole points; without positions they are evenly spaced, without guarantees measured."""
        count = len(points)
        if count < 2:
            raise ValueError(f"a path needs two points or more, found {count}")
        at = tuple(positions or (i / (count - 1) for i in range(count)))
        segments = len(basis_named(basis).knots(at)) - 1
        return cls(
            start=dict(points[0]),
            edits=tuple(edits_between(a, b) for a, b in itertools.pairwise(points)),
            basis=basis,
            positions=at,
            guarantees=tuple(guarantees or [MEASURED] * segments),
        )

    @property
    def shape(self) -> Basis:
        """How the weights between the points come about."""
        return basis_named(self.basis)

    @property
    def knots(self) -> tuple[float, ...]:
        """The t at which segments meet, from 0 to 1: one more than there are segments."""
        return self.shape.knots(self.positions)

    def interval(self, segment: int) -> tuple[float, float]:
        """Return the t at which a segment starts and ends."""
        if not 0 <= segment < len(self.guarantees):
            raise IndexError(f"segment {segment} of a path of {len(self.guarantees)}")
        left, right = self.knots[segment : segment + 2]
        return left, right

    def segment(self, t: float) -> tuple[int, float]:
        """Return the segment that holds t, and how far along it t lies, in [0, 1).

        At a knot it is the segment that starts there, at 0 of its way; at 1 its index is the number of segments.
        """
        if not 0 <= t <= 1:
            raise ValueError(f"t: expected in [0, 1], found {t}")
        knots = self.knots
        index = bisect.bisect_right(knots, t) - 1
        if index == len(knots) - 1:
            return index, 0.0
        left, right = knots[index], knots[index + 1]
        return index, (t - left) / (right - left)

    def guarantee_at(self, t: float) -> Guarantee:
        """Return the guarantee of the segment that holds t: of the one that starts at a knot, and of the last at 1."""
        return self.guarantees[min(self.segment(t)[0], len(self.guarantees) - 1)]

    def points(self) -> Iterator[Weights]:
        """Yield every point in order; tensors that did not change are the same objects, and must not be written to."""
        weights, owned = dict(self.start), set[str]()
        yield dict(weights)
        for edits in self.edits:
            owned.clear()
            for edit in edits:
                apply(edit, weights, owned)
            yield dict(weights)

    def at_knots(self) -> Iterator[Weights]:
        """Yield the weights at every knot in order, to be read only: all points that lie on the path."""
        yield from self.points() if self.shape.straight else (dict(self.start), self.end)

    def point(self, index: int) -> Weights:
        """Return point `index`; its tensors may be shared with the path and must not be written to."""
        if not 0 <= index <= len(self.edits):
            raise IndexError(f"point {index} of a path of {len(self.edits) + 1}")
        return next(weights for i, weights in enumerate(self.points()) if i == index)

    @property
    def end(self) -> Weights:
        """Weights of the last point, to be read only."""
        return self.point(len(self.edits))

    def __call__(self, t: float) -> Weights:
        """Return the weights at t as tensors of their own."""
        from connectivity_hooks.paths.walk import Walk

        weights = {name: torch.empty_like(tensor) for name, tensor in self.start.items()}
        Walk(self).write(t, weights)
        return weights

    def to(self, device: torch.device, dtype: torch.dtype) -> Path:
        """Return the path on `device`, floating weights in `dtype`."""
        start = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in self.start.items()
        }
        edits = tuple(tuple(edit.to(device, dtype) for edit in segment) for segment in self.edits)
        return replace(self, start=start, edits=edits)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the path as ``connectivity_hooks.path/1``; see `connectivity_hooks.paths.file`."""
        from connectivity_hooks.paths.file import write_path

        write_path(self, file)

    @staticmethod
    def load(file: str | os.PathLike[str]) -> Path:
        """Read a path file; raise `InputError` when it is not one."""
        from connectivity_hooks.paths.file import read_path

        return read_path(file)
