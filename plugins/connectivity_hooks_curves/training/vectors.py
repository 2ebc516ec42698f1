"""A module's vectors, one for each of its types, thought of as one: its length, and what it is clipped by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Point: TypeAlias = Sequence[Tensor]
"""Vectors (P,) of parameters, one for each type."""

_SMALLEST = 1e-12
"""Below any gradient's norm that is not 0, which is divided by."""


def dot(x: Point, y: Point) -> Tensor:
    """Return x·y, a scalar."""
    parts = [torch.dot(left, right) for left, right in zip(x, y, strict=True)]
    return torch.stack([part.to(_widest(parts)) for part in parts]).sum()


def length(x: Point) -> Tensor:
    """Return ‖x‖, a scalar."""
    parts = [torch.linalg.vector_norm(part) for part in x]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([part.to(_widest(parts)) for part in parts]))
    return norm


def clip_to(x: Point, most: float | None) -> Tensor:
    """Scale x, in place, to a length of at most so much; return the length that it had."""
    norm = length(x)
    if most is not None:
        scale = (most / norm.clamp_min(_SMALLEST)).clamp_max(1.0)
        for part in x:
            part.mul_(scale)
    return norm


def _widest(parts: Sequence[Tensor]) -> torch.dtype:
    exact = any(part.dtype == torch.float64 for part in parts)
    return torch.float64 if exact else torch.float32
