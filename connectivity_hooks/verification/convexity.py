"""Whether a loss that was declared convex in the outputs is seen not to be, sample by sample.

Along a convex segment outputs move on straight lines, so a convex loss of each sample lies at or below the line between
its values at the segment's ends. One sample above it, by more than rounding, refutes the declaration; a mean over many
samples could hide it. Samples weigh the same wherever the outputs are, or a mean of convex losses would not be convex.
"""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.tasks.loss import Loss, Terms
from connectivity_hooks.verification.rounding import UNITS


@torch.no_grad()
def between(loss: Loss, left: Tensor, right: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Terms, Tensor]:
    """Return outputs (N, …), terms (N,) and bends (N,) of samples on the way between two of their outputs.

    Args:
        loss: The loss.
        left: Outputs (N, …) at one end.
        right: Outputs at the other.
        targets: Targets (N, …).
        share: How far from the first to the second, in [0, 1].

    Returns:
        The outputs there in float64, the terms of the losses there, and by how much each sample's loss lies above the
        line between its ends: 0 where rounding explains it, infinite where it is not a number, or where the sample's
        weight is another than at the ends.
    """
    a, b = left.double(), right.double()
    outputs = torch.lerp(a, b, share)
    terms = [loss.measure(values, targets) for values in (outputs, a, b)]
    there, first, last = (one.values() for one in terms)
    excess = there - torch.lerp(first, last, share)
    allowed = UNITS * torch.finfo(there.dtype).eps * _scale(a, b, first, last)
    explained = (excess <= allowed) | ~torch.isfinite(first + last)
    bends = torch.where(explained, torch.zeros_like(excess), excess)
    weights = torch.stack([one.weights for one in terms])
    bends = torch.where((weights == weights[0]).all(0), bends, float("inf"))
    return outputs, terms[0], torch.nan_to_num(bends, nan=float("inf"), posinf=float("inf"))


def _scale(a: Tensor, b: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return for each sample the largest value that rounding is relative to: a loss is a difference of its outputs."""
    outputs = torch.maximum(a.abs().flatten(1).amax(1), b.abs().flatten(1).amax(1))
    return torch.maximum(torch.maximum(first.abs(), last.abs()), outputs).clamp_min(1)
