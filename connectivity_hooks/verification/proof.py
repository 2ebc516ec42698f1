"""The one rule for the word *proven*: what must have been checked before a bound on a whole path is given.

The bound is the largest loss of the path's points. It holds for every t when
1. every segment has a guarantee, and the structure of the network shows it to be true (`guarantees`);
2. outputs inside the segments are what the guarantees imply, up to rounding (a check of that reading on real inputs);
3. the loss is convex in the outputs, and no sample's measured loss lies above the line between its values at the ends
   of its segment: a loss that was declared convex and is seen not to be proves nothing;
4. the weights are the path's own wherever something is guaranteed: no correction changes them;
5. no mean loss measured inside a convex segment is above that of its larger end, whatever single samples show;
6. all of it was computed in a type in which rounding is small beside the figures, the loss among it.
Whoever says that the ends are two given checkpoints has compared them with these, bit for bit, or as functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from connectivity_hooks.paths.path import CONVEX, MEASURED, Path
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.verification.rounding import PRECISE

_VISIBLE = 1e-3
"""Of the mean loss: what lies above a bound by more would be read in a figure of four digits, whatever explains it; and
where rounding alone may move the mean by as much, nothing shows whether the loss is convex."""

_LEAST = 1e-6
"""A mean loss below which nobody asks for three digits of it: 0 at both ends is no reason to call float64 coarse."""


@dataclass(frozen=True)
class Proof:
    """Whether the largest loss of a path's points bounds the loss of the whole path.

    Attributes:
        gaps: What is missing, in words, the weightiest first; empty where the bound is proven.
        voided: Whether a correction voids every guarantee.
    """

    gaps: tuple[str, ...]
    voided: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bound is proven."""
        return not self.gaps


@dataclass(frozen=True)
class Seen:
    """What a proof needs to know of one measured point.

    Attributes:
        where: The point in words, with its split.
        loss: Mean loss.
        bend: See `convexity`; None outside convex segments.
        blur: By how much rounding moves the mean loss, likewise.
        larger: Mean loss at the larger end of the convex segment.
    """

    where: str
    loss: float
    bend: float | None
    blur: float | None = None
    larger: float = math.inf


def prove(
    path: Path,
    loss: Loss,
    *,
    untrue: Sequence[str],
    seen: Sequence[Seen],
    dtype: torch.dtype,
    loss_dtype: torch.dtype = torch.float64,
    voided_by: str | None = None,
) -> Proof:
    """Apply the rule.

    Args:
        path: The path.
        loss: The loss, with whether it is convex in the outputs.
        untrue: Guarantees that a check refuted, or why they could not be checked, in words.
        seen: Everything that was measured.
        dtype: Type of the forward passes.
        loss_dtype: Type in which the loss comes back.
        voided_by: Name of the correction that changed the weights at every t, if one did.
    """
    gaps = []
    if voided_by is not None:
        gaps.append(f"the weights were corrected at every t ({voided_by}), and no guarantee is about them")
    open_segments = path.guarantees.count(MEASURED)
    if open_segments:
        gaps.append(f"{open_segments} of {len(path.guarantees)} segments are only measured")
    gaps += untrue
    gaps += coarse_loss(loss, loss_dtype)
    if CONVEX in path.guarantees:
        gaps += not_convex(loss, seen)
    gaps += [f"the loss is not finite {point.where}" for point in seen if not math.isfinite(point.loss)][:1]
    if dtype not in PRECISE:
        gaps.append(f"computed in {str(dtype).removeprefix('torch.')}, where rounding hides faults; use float32")
    return Proof(tuple(gaps), voided_by is not None)


def not_convex(loss: Loss, seen: Sequence[Seen]) -> list[str]:
    """Return in words why the loss is not convex in the outputs, as far as known; nothing where it may be."""
    if not loss.convex:
        return [f"the loss {loss.name} is not known to be convex in the outputs"]
    worst = max(seen, key=lambda point: point.bend or 0.0, default=None)
    if worst is None or not worst.bend:
        return _of_means(loss, seen)
    if math.isinf(worst.bend):
        return [
            f"the loss {loss.name} was declared convex in the outputs and is not: {worst.where} a sample's loss is not "
            "a number, or its weight changes with the outputs"
        ]
    return [
        f"the loss {loss.name} was declared convex in the outputs and is not: {worst.where} a sample's loss lies "
        f"{worst.bend:.3g} above the line between its values at the ends of the segment"
    ]


def coarse_loss(loss: Loss, dtype: torch.dtype) -> list[str]:
    """Return in words that a loss comes back in a type that hides faults; nothing where it does not."""
    if dtype in PRECISE:
        return []
    coarse = str(dtype).removeprefix("torch.")
    return [
        f"the loss {loss.name} comes back in {coarse}, where rounding hides faults; let it return float32 or float64"
    ]


def _of_means(loss: Loss, seen: Sequence[Seen]) -> list[str]:
    """Return what mean losses inside convex segments say against a bound, where no single sample does."""
    means = [(point, point.blur, abs(point.larger)) for point in seen if point.blur is not None]
    for point, blur, size in means:
        if point.loss > point.larger + min(blur, _VISIBLE * size):
            return [
                f"the loss {loss.name} was declared convex in the outputs and is not: {point.where} its mean is "
                f"{point.loss:.6g}, above {point.larger:.6g} at the larger end of the segment"
            ]
    for point, blur, size in means:
        if blur > _VISIBLE * max(size, _LEAST):
            return [
                f"the loss {loss.name} is known to ± {blur:.1g} only {point.where}, where it is at most "
                f"{point.larger:.3g}: rounding hides whether it is convex; let it compute in float64"
            ]
    return []
