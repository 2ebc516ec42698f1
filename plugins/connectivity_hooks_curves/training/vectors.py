"""A module's vectors, one for each of its types, thought of as one: its length, and what it is clipped by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks_curves.training.curve import launches

Point: TypeAlias = Sequence[Tensor]
"""Vectors (P,) of parameters, one for each type."""

SMALLEST = 1e-12
"""Below any gradient's norm that is not 0, which is divided by."""


def dot(x: Point, y: Point) -> Tensor:
    """Return x·y, a scalar."""
    parts = [torch.dot(left, right) for left, right in zip(x, y, strict=True)]
    return torch.stack([part.to(_widest(parts)) for part in parts]).sum()


def length(x: Point) -> Tensor:
    """Return ‖x‖, a scalar."""
    return norm_of(list(x))


def clip_to(x: Point, most: float | None) -> Tensor:
    """Scale x, in place, to a length of at most so much; return the length that it had."""
    norm = length(x)
    if most is not None:
        scale = clip_scale(norm, most)
        for part in x:
            part.mul_(scale)
    return norm


def clip_scale(norm: Tensor, clip: float) -> Tensor:
    """Return what a gradient is multiplied by, so that its norm is `clip` at most."""
    return (clip / norm.clamp_min(SMALLEST)).clamp_max(1.0)


def norm_of(gradients: list[Tensor]) -> Tensor:
    """Return the norm of all gradients together; on the processor torch.nn.utils.get_total_norm takes twice as long."""
    if not gradients:
        return torch.zeros(())
    exact = torch.float64 if any(gradient.dtype == torch.float64 for gradient in gradients) else torch.float32
    if launches(gradients):
        norms = list(torch._foreach_norm(gradients, 2, exact))
    else:
        norms = [torch.linalg.vector_norm(gradient, dtype=exact) for gradient in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def _widest(parts: Sequence[Tensor]) -> torch.dtype:
    exact = any(part.dtype == torch.float64 for part in parts)
    return torch.float64 if exact else torch.float32
