"""The one rule for the word *proven*: what must have been checked before a bound on a whole path is given.

The bound is the largest loss of the path's points. It holds for every t when
1. every segment has a guarantee, and the structure of the network shows it to be true (`guarantees`);
2. outputs inside the segments are what the guarantees imply, up to rounding (a check of that reading on real inputs);
3. the loss is convex in the outputs, and no measured value lies above the line between its segment's ends: a loss that
   was declared convex and is seen not to be proves nothing;
4. the weights are the path's own at every t: no statistics are measured anew;
5. all of it was computed in a type in which rounding is small beside the figures.
Whoever says that the ends are two given checkpoints has compared them with these, bit for bit, or as functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from connectivity_hooks.paths.path import CONVEX, MEASURED, Guarantee, Path
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.verification.rounding import PRECISE, loss_tolerance


@dataclass(frozen=True)
class Proof:
    """Whether the largest loss of a path's points bounds the loss of the whole path.

    Attributes:
        gaps: What is missing, in words, the weightiest first; empty where the bound is proven.
    """

    gaps: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the bound is proven."""
        return not self.gaps


@dataclass(frozen=True)
class Curve:
    """Mean losses of one split along a path.

    Attributes:
        split: Name of the split.
        losses: Mean loss by t, the path's points among them.
        dtype: Type the losses of single samples were computed in.
    """

    split: str
    losses: Mapping[float, float]
    dtype: torch.dtype


def prove(
    path: Path,
    loss: Loss,
    *,
    untrue: Sequence[str],
    curves: Sequence[Curve],
    dtype: torch.dtype,
    stored_statistics: bool = True,
) -> Proof:
    """Apply the rule.

    Args:
        path: The path.
        loss: The loss, with whether it is convex in the outputs.
        untrue: Guarantees that a check refuted, or why they could not be checked, in words.
        curves: What was measured, split by split.
        dtype: Type of the forward passes.
        stored_statistics: Whether batch norm ran with the path's own statistics.
    """
    gaps = []
    if not stored_statistics:
        gaps.append("batch-norm statistics were measured anew at every t, and belong to no guarantee")
    open_segments = path.guarantees.count(MEASURED)
    if open_segments:
        gaps.append(f"{open_segments} of {len(path.guarantees)} segments are only measured")
    gaps += untrue
    if CONVEX in path.guarantees and not loss.convex:
        gaps.append(f"the loss {loss.name} is not known to be convex in the outputs")
    elif not gaps:
        gaps += [gap for curve in curves for gap in not_convex(path.positions, path.guarantees, curve)]
    gaps += [
        f"the {curve.split} loss is not finite everywhere"
        for curve in curves
        if not all(map(math.isfinite, curve.losses.values()))
    ]
    if dtype not in PRECISE:
        gaps.append(f"computed in {str(dtype).removeprefix('torch.')}, where rounding hides faults; use float32")
    return Proof(tuple(gaps))


def not_convex(positions: Sequence[float], guarantees: Sequence[Guarantee], curve: Curve) -> list[str]:
    """Return the largest loss above the line between the ends of its convex segment, in words; nothing if none is.

    Args:
        positions: t of the path's points.
        guarantees: Guarantee of each segment.
        curve: Measured losses of one split.
    """
    worst, words = 0.0, []
    for segment, guarantee in enumerate(guarantees):
        if guarantee == CONVEX:
            left, right = positions[segment : segment + 2]
            for t, excess in _above_the_line(left, right, curve):
                if not excess <= worst:
                    line = curve.losses[t] - excess
                    worst, words = excess, [_seen(curve, t, line)]
    return words


def _above_the_line(left: float, right: float, curve: Curve) -> list[tuple[float, float]]:
    """Return (t, excess) of what lies above the line by more than rounding."""
    a, b = curve.losses[left], curve.losses[right]
    allowed = loss_tolerance(curve.dtype, a, b)
    found = []
    for t, loss in curve.losses.items():
        if left < t < right:
            share = (t - left) / (right - left)
            excess = loss - ((1 - share) * a + share * b)
            if not excess <= allowed:
                found.append((t, excess))
    return found


def _seen(curve: Curve, t: float, line: float) -> str:
    return (
        f"the loss was declared convex in the outputs and is not: at t = {t:.4g} the {curve.split} loss is "
        f"{curve.losses[t]:.6g}, and a convex one is at most {line:.6g} there"
    )
