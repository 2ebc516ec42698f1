"""The one rule for the word *proven*: what must have been checked before a bound on a whole path is given.

The bound is the largest loss of the path's points. It holds for every t when
1. every segment has a guarantee, and the structure of the network shows it to be true (`guarantees`);
2. outputs inside the segments are what the guarantees imply, up to rounding (a check of that reading on real inputs);
3. the loss is convex in the outputs, and no sample's measured loss lies above the line between its values at the ends
   of its segment: a loss that was declared convex and is seen not to be proves nothing;
4. the weights are the path's own wherever something is guaranteed: no correction changes them;
5. all of it was computed in a type in which rounding is small beside the figures.
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
    """

    where: str
    loss: float
    bend: float | None


def prove(
    path: Path,
    loss: Loss,
    *,
    untrue: Sequence[str],
    seen: Sequence[Seen],
    dtype: torch.dtype,
    voided_by: str | None = None,
) -> Proof:
    """Apply the rule.

    Args:
        path: The path.
        loss: The loss, with whether it is convex in the outputs.
        untrue: Guarantees that a check refuted, or why they could not be checked, in words.
        seen: Everything that was measured.
        dtype: Type of the forward passes.
        voided_by: Name of the correction that changed the weights at every t, if one did.
    """
    gaps = []
    if voided_by is not None:
        gaps.append(f"the weights were corrected at every t ({voided_by}), and no guarantee is about them")
    open_segments = path.guarantees.count(MEASURED)
    if open_segments:
        gaps.append(f"{open_segments} of {len(path.guarantees)} segments are only measured")
    gaps += untrue
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
        return []
    if math.isinf(worst.bend):
        return [
            f"the loss {loss.name} was declared convex in the outputs and is not: {worst.where} a sample's loss is not "
            "a number, or its weight changes with the outputs"
        ]
    return [
        f"the loss {loss.name} was declared convex in the outputs and is not: {worst.where} a sample's loss lies "
        f"{worst.bend:.3g} above the line between its values at the ends of the segment"
    ]
