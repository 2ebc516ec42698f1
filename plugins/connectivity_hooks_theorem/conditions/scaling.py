"""The best scalar for outputs: along it a convex loss has one minimum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from connectivity_hooks.tasks import Loss

_GOLDEN = (5**0.5 - 1) / 2
_POWERS = 10.0
_STEPS = 28


@torch.no_grad()
def mean_losses(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the mean loss (D,) of outputs (D, N, …), summed in float64."""
    return torch.stack([loss.terms(each, targets).double().mean() for each in outputs])


def wrong(outputs: Tensor, targets: Tensor, loss: Loss) -> float | None:
    """Return how many predictions are wrong; None where the loss knows none."""
    return None if loss.errors is None else float(loss.errors(outputs, targets).sums.sum())


@torch.no_grad()
def best_scale(outputs: Tensor, targets: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the scale s (D,) in [2^-10, 2^10] with the least mean loss of s·outputs, and that loss (D,).

    Golden-section search over log s: s·outputs is linear in s, so a convex loss has one minimum along it. A scale of 1
    is tried as it is, so that the result is never above the loss of the outputs themselves.

    Args:
        outputs: (D, N, …), whatever follows the samples: nothing, classes, or classes and positions.
        targets: (N, …).
        loss: The loss.
    """
    one_each = (-1, *[1] * (outputs.ndim - 1))

    def at(powers: Tensor) -> Tensor:
        return mean_losses(outputs * (2**powers).to(outputs).view(one_each), targets, loss)

    powers, found = _golden(at, torch.full((len(outputs),), _POWERS, dtype=torch.float64, device=outputs.device))
    own = mean_losses(outputs, targets, loss)
    better = found < own
    return torch.where(better, 2**powers, torch.ones_like(powers)), torch.where(better, found, own)


def _golden(function: Callable[[Tensor], Tensor], reach: Tensor) -> tuple[Tensor, Tensor]:
    low, high = -reach, reach
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        lower = at_left < at_right
        low, high = torch.where(lower, low, left), torch.where(lower, right, high)
        fresh = torch.where(lower, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        value = function(fresh)
        left, right = torch.where(lower, fresh, right), torch.where(lower, left, fresh)
        at_left, at_right = torch.where(lower, value, at_right), torch.where(lower, at_left, value)
    return torch.where(at_left < at_right, left, right), torch.minimum(at_left, at_right)
