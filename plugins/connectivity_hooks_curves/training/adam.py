"""Adam over the vectors of a module, and its moments as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of each vector."""
_KEPT = (*MOMENTS, "step")
"""And its count of steps."""
_FUSED = ("cpu", "cuda")
"""Devices on which Adam is one pass over a vector instead of eight."""


def adam_of(vectors: Sequence[Tensor]) -> torch.optim.Adam:
    """Return an optimizer of vectors that has seen nothing; its rate is given step by step."""
    return torch.optim.Adam(vectors, fused=all(vector.device.type in _FUSED for vector in vectors))


def adam_step(adam: torch.optim.Adam, lr: float) -> None:
    """Take a step by the gradients that the vectors have."""
    for options in adam.param_groups:
        options["lr"] = lr
    adam.step()


def moments_of(adam: torch.optim.Adam, prefix: str) -> dict[str, Tensor]:
    """Return what the next step depends on, by name under a prefix; nothing before the first."""
    vectors = adam.param_groups[0]["params"]
    return {
        f"{prefix}.{g}.{name}": adam.state[vector][name]
        for g, vector in enumerate(vectors)
        if vector in adam.state
        for name in _KEPT
    }


def restore_moments(adam: torch.optim.Adam, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Go on from moments of the same prefix; where there are none, from the beginning."""
    moments = {
        g: {name: tensors[f"{prefix}.{g}.{name}"].clone() for name in _KEPT}
        for g in range(len(adam.param_groups[0]["params"]))
        if f"{prefix}.{g}.step" in tensors
    }
    adam.load_state_dict({**adam.state_dict(), "state": moments})
