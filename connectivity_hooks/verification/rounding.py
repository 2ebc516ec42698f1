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
