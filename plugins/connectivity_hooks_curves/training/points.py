"""Control points of a whole module, a vector for each of its types, and the optimizer that moves them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from connectivity_hooks.model import Weights
from connectivity_hooks.team import Team
from connectivity_hooks_curves.training.adam import MOMENTS, adam_of, adam_step
from connectivity_hooks_curves.training.curve import Curve, Place, straight, wide, write_scaled
from connectivity_hooks_curves.training.draws import Chance
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.untrained import untrained_between
from connectivity_hooks_curves.training.vectors import SMALLEST, clip_scale, norm_of


class Shape(Protocol):
    """Fixed and trained points of one vector of parameters, and the parameters they stand for at a place."""

    @property
    def trained(self) -> list[Tensor]:
        """Vectors (P,) that are trained."""
        ...

    def shares(self, place: Place) -> Sequence[float]:
        """Return the share that each trained vector has of the parameters at a place."""
        ...

    def begun(self) -> list[Tensor]:
        """Return where the trained vectors begin."""
        ...

    def write(self, place: Place, out: Tensor) -> None:
        """Write the parameters at a place into a vector (P,)."""
        ...


class ControlPoints(ABC):
    """Trained points of a whole module.

    Memory, in vectors of all parameters: the fixed points, and for each trained one itself, its gradient, two moments
    of Adam and the best point.

    Args:
        flat: The module that is moved.
        shapes: For each group of its parameters.
    """

    what: ClassVar[str]
    """What is trained, as a person reads it."""
    start: ClassVar[str]
    """What there is without training, as a person reads it."""

    def __init__(self, flat: FlatModule, shapes: Sequence[Shape]) -> None:
        self._flat, self._shapes = flat, shapes
        self._trained = [point for shape in shapes for point in shape.trained]
        self._gradients = [
            [list(group.views(_with_gradient(point)).values()) for point in shape.trained]
            for group, shape in zip(flat.groups, shapes, strict=True)
        ]
        self._group_of = [group for group, shape in zip(flat.groups, shapes, strict=True) for _ in shape.trained]
        self._adam = adam_of(self._trained)
        self._best: list[Tensor] | None = None

    @abstractmethod
    def place(self, drawn: Chance) -> Place:
        """Return where a step looks."""

    @abstractmethod
    def where(self, place: Place) -> str:
        """Return a place in words."""

    def write(self, place: Place) -> None:
        """Write φ at a place into the module."""
        for shape, group in zip(self._shapes, self._flat.groups, strict=True):
            shape.write(place, group.values)

    @abstractmethod
    def pull(self) -> None:
        """Add to the gradients what does not come from the loss."""

    def move(self, place: Place, lr: float, weight_decay: float, clip: float | None) -> Tensor | None:
        """Take a step by the gradients that the module has at a place: for each trained point its share of ∂L/∂φ.

        Returns:
            The norm of ∂L/∂φ, weight decay included; None where it is not clipped, and so not known.
        """
        gradients = [group.gradients(weight_decay) for group in self._flat.groups]
        norm, scale = None, None
        if clip is not None:
            norm = norm_of([gradient for found in gradients for gradient in found if gradient is not None])
            scale = clip_scale(norm, clip)
        for shape, points, found in zip(self._shapes, self._gradients, gradients, strict=True):
            for share, views in zip(shape.shares(place), points, strict=True):
                write_scaled(found, share if scale is None else share * scale, views)
        self.step(lr)
        return norm

    def step(self, lr: float) -> None:
        """Take a step by the gradients that the points have, and by what pulls at them besides the loss."""
        self.pull()
        adam_step(self._adam, lr)

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients (P,) of the trained points; what is written into them is what `step` takes."""
        return [point.grad for point in self._trained if point.grad is not None]

    def clear(self) -> None:
        """Let the points have gradients of 0."""
        for gradient in self.gradients:
            gradient.zero_()

    def nothing(self) -> list[Tensor]:
        """Return a vector (P,) of 0 for each type, as `collected` returns gradients."""
        return [torch.zeros_like(shape.trained[0]) for shape in self._shapes]

    def collected(self) -> list[Tensor]:
        """Return the gradients that the module has at a place, a vector (P,) of each type; 0 where it has none."""
        vectors = self.nothing()
        for group, vector in zip(self._flat.groups, vectors, strict=True):
            write_scaled(group.gradients(), 1.0, list(group.views(vector).values()))
        return vectors

    @torch.no_grad()
    def averaged(self, vectors: list[Tensor], counted: Tensor, weight_decay: float) -> None:
        """Divide gradients of sums by how much counted, in place, and add that of λ/2·‖φ‖²."""
        for group, vector in zip(self._flat.groups, vectors, strict=True):
            # Where nothing counts, sums are 0 and so is their mean.
            vector.div_(counted.clamp_min(SMALLEST).to(vector.dtype))
            if weight_decay:
                vector.add_(group.values.to(vector.dtype), alpha=weight_decay)

    @torch.no_grad()
    def add(self, place: Place, vectors: list[Tensor], scale: float | Tensor) -> None:
        """Add each trained point's share of ∂L/∂φ at a place, times a number, to its gradient."""
        for shape, vector in zip(self._shapes, vectors, strict=True):
            for share, point in zip(shape.shares(place), shape.trained, strict=True):
                if share and point.grad is not None:
                    point.grad.add_(vector * (scale * share))

    def norm(self, vectors: list[Tensor]) -> Tensor:
        """Return the norm of vectors (P,), one of each type, whoever holds their parts."""
        own = norm_of(vectors)
        return self._flat.total(own.double().square()).sqrt() if self._flat.is_spread else own

    def sum(self, vectors: list[Tensor], team: Team) -> None:
        """Sum gradients (P,) that processes have found, in place: spread ones already are sums."""
        if not self._flat.is_spread:
            for vector in vectors:
                team.sum(vector)

    def are_finite(self) -> bool:
        """Say whether all control points are finite; this waits for the device."""
        return not self._flat.anywhere(not all(bool(point.isfinite().all()) for point in self._trained))

    def keep(self) -> None:
        """Remember the points as the best so far."""
        if self._best is None:
            self._best = [torch.empty_like(point) for point in self._trained]
        for best, point in zip(self._best, self._trained, strict=True):
            best.copy_(point)

    def take_best(self) -> None:
        """Go back to the best points: to those it began with where none were kept."""
        best = [point for shape in self._shapes for point in shape.begun()] if self._best is None else self._best
        for point, kept in zip(self._trained, best, strict=True):
            point.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """Return everything the next step depends on, by name; the tensors themselves, where this process has all."""
        found = {}
        for i, (point, group) in enumerate(zip(self._trained, self._group_of, strict=True)):
            found[f"point.{i}"] = group.whole(point)
            if self._best is not None:
                found[f"best.{i}"] = group.whole(self._best[i])
            moments = self._adam.state[point]
            found |= {f"{name}.{i}": group.whole(moments[name]) for name in MOMENTS}
            found[f"step.{i}"] = moments["step"]
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        if "best.0" in tensors:
            self.keep()
        moments: dict[int, dict[str, Tensor]] = {}
        for i, (point, group) in enumerate(zip(self._trained, self._group_of, strict=True)):
            point.copy_(group.part(tensors[f"point.{i}"]))
            if self._best is not None:
                self._best[i].copy_(group.part(tensors[f"best.{i}"]))
            moments[i] = {name: group.part(tensors[f"{name}.{i}"]).clone() for name in MOMENTS}
            moments[i]["step"] = tensors[f"step.{i}"].clone()
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})


class Points(ControlPoints):
    """Control points between two ends, on the straight line at first; see `ControlPoints`.

    Args:
        flat: The module that is moved along the curve.
        a: Weights at t = 0.
        b: Weights at t = 1.
        basis: ``bezier`` or ``polyline``.
        bends: Control points between the ends.
    """

    what = "the curve"
    start = "the path is the straight line"

    def __init__(self, flat: FlatModule, a: Weights, b: Weights, basis: str, bends: int) -> None:
        self._ends, self._bends = (a, b), bends
        self._curves = [
            Curve(straight(group.vector(a, held), group.vector(b, held), bends), basis)
            for group, held in ((group, wide(group.values.dtype)) for group in flat.groups)
        ]
        super().__init__(flat, self._curves)

    @property
    def are_one(self) -> bool:
        """Whether the ends are equal in all that is trained."""
        differ = not all(torch.equal(curve.points[0], curve.points[-1]) for curve in self._curves)
        return not self._flat.anywhere(differ)

    def place(self, drawn: Chance) -> float:
        """Return t."""
        return drawn.t

    def where(self, place: float) -> str:
        """Return t in words."""
        return f"t = {place:.4f}"

    def pull(self) -> None:
        """Add nothing."""

    def weights(self) -> tuple[Weights, ...]:
        """Return all control points as weights; what is not trained lies on the straight line."""
        a, b = self._ends
        return (
            a,
            *(
                self._flat.weights(
                    [curve.points[bend] for curve in self._curves], untrained_between(a, b, bend / (self._bends + 1))
                )
                for bend in range(1, self._bends + 1)
            ),
            b,
        )


def _with_gradient(point: Tensor) -> Tensor:
    """Give a control point a gradient that stays where it is; return it."""
    gradient = torch.zeros_like(point)
    point.grad = gradient
    return gradient
