"""What rounding explains, derived from the type that was computed in, and nothing more.

A sum of n products is off by at most n units in the last place of its largest term, and the widest layers of the
networks read here add up about two thousand.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNITS = 2000

PRECISE = (torch.float32, torch.float64)
"""Types in which a proof can be checked: in bfloat16, 2000 units are 16 times the value itself."""


def outputs_tolerance(dtype: torch.dtype) -> float:
    """Return by how much an output may deviate, see `relative_deviation`: 2.4e-4 in float32, 4.4e-13 in float64."""
    return UNITS * torch.finfo(dtype).eps


def relative_deviation(found: Tensor, expected: Tensor) -> float:
    """Return the largest deviation of an output, relative to its own size and to the usual size in its column.

    Neither a column of another scale nor a single large sample hides what happens to the others. Infinite where an
    output is not a number on one side alone.

    Args:
        found: Outputs (N, …).
        expected: Outputs (N, …).
    """
    if found.shape != expected.shape:
        return float("inf")
    one, other = (values.double().reshape(len(values), -1) for values in (found, expected))
    wrong = torch.where(torch.isnan(one) & torch.isnan(other) | (one == other), 0.0, (one - other).abs())
    usual = other.abs().nan_to_num(0.0, 0.0).median(0).values
    # Where most outputs are 0, as behind a ReLU, the usual size of all columns, or else the largest, stands for it.
    for instead in (usual.median(), other.abs().nan_to_num(0.0, 0.0).max()):
        usual = torch.where(usual > 0, usual, instead)
    sizes = torch.maximum(other.abs(), usual)
    relative = torch.where(wrong == 0, 0.0, wrong / sizes).nan_to_num(float("inf"), float("inf"))
    return float(relative.max())
