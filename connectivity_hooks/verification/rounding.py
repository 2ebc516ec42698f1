"""What rounding explains, derived from the type that was computed in, and nothing more.

A sum of n products is off by at most n units in the last place of its largest term, and the widest layers of the
networks read here add up about two thousand.
"""

from __future__ import annotations

import torch

UNITS = 2000

PRECISE = (torch.float32, torch.float64)
"""Types in which a proof can be checked: in bfloat16, 2000 units are 16 times the value itself."""


def outputs_tolerance(dtype: torch.dtype) -> float:
    """Return by how much an output may deviate, relative to the largest: 2.4e-4 in float32, 4.4e-13 in float64."""
    return UNITS * torch.finfo(dtype).eps


def loss_tolerance(dtype: torch.dtype, *losses: float) -> float:
    """Return by how much a mean loss may deviate.

    Relative to the largest of `losses`, and at least to 1: a loss near 0 is a difference of outputs of that size.

    Args:
        dtype: Type the losses of single samples were computed in.
        losses: Mean losses nearby.
    """
    return UNITS * torch.finfo(dtype).eps * max(1.0, *map(abs, losses))
