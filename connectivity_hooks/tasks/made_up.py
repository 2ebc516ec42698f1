"""Labels made up for a few samples, under which two losses differ that the data's own labels may not tell apart.

A cross-entropy with class weights is one without on labels of one class, a binary one with weights of its positives is
one without where there are none, and a Huber loss is half a squared error where errors are small.
"""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss import Loss

_ERRORS = (0.25, -0.5, 4.0, -6.0)
"""Of outputs against real targets: small and large ones, to both sides."""

_RAREST = 4
"""One of so many labels is of the rarest class, so that classes are not equally frequent."""


def made_up(loss: Loss, outputs: Tensor, few: Tensor, targets: Tensor) -> Tensor | None:
    """Return labels of a few samples that tell a loss from others; None where it is not known which would.

    Args:
        loss: A built-in one that outputs and targets fit.
        outputs: (N, …), of the few samples.
        few: (N, …), their targets, which give shape and type; labels that are left out stay so, where any count.
        targets: All targets of the split: of classes that it does not have nothing is asked.
    """
    if loss.fit is None or loss.coupled:
        return None
    if loss.reading is None:
        return _signs(few) if loss.name == "bce" else _apart(outputs, few)
    if few.is_floating_point():
        return _probabilities(few)
    return _classes(few, targets, (IGNORED, loss.reading.ignored), outputs.numel())


def _classes(few: Tensor, targets: Tensor, left_out: tuple[int, ...], most: int) -> Tensor | None:
    """Return labels of the split's classes, the rarest and the most frequent first; None of labels that are none."""
    kept = targets[_counted(targets, left_out)].long()
    if not len(kept) or int(kept.min()) < 0 or int(kept.max()) >= most:
        return None
    counts = kept.bincount().to(few.device)
    order = counts.argsort(stable=True)
    order = order[counts[order] > 0]
    turn = torch.arange(few.numel(), device=few.device) % len(order)
    turn = torch.where(turn % 2 == 0, turn // 2, len(order) - 1 - turn // 2)
    turn[len(turn) - len(turn) // _RAREST :] = 0
    made, here = order[turn].view(few.shape).to(few.dtype), _counted(few, left_out)
    return torch.where(here, made, few) if bool(here.any()) else made


def _counted(labels: Tensor, left_out: tuple[int, ...]) -> Tensor:
    return torch.stack([labels != label for label in left_out]).all(0)


def _probabilities(few: Tensor) -> Tensor:
    weights = (1 + _places(few) * 7 % 5).square().to(few.dtype)
    return weights / weights.sum(1, keepdim=True)


def _signs(few: Tensor) -> Tensor:
    return (_places(few) % 3 == 0).to(few.dtype)


def _apart(outputs: Tensor, few: Tensor) -> Tensor:
    errors = torch.tensor(_ERRORS, dtype=torch.float64, device=few.device)[_places(few) % len(_ERRORS)]
    apart = outputs.detach().to(few.device).double().reshape(few.shape) - errors
    return (apart if few.is_floating_point() else apart.round()).to(few.dtype)


def _places(few: Tensor) -> Tensor:
    return torch.arange(few.numel(), device=few.device).view(few.shape)
