"""One pass of a module over a batch of training, forth and back."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.strangers import Pass, guarded_call
from connectivity_hooks.tasks import Drawn, Task
from connectivity_hooks_curves.training.curve import wide
from connectivity_hooks_curves.training.module import FlatModule


def forth_and_back(flat: FlatModule, task: Task, drawn: Drawn, precision: str) -> Tensor:
    """Run a module on an augmented batch, forth and back; its parameters have the gradients, the loss is returned.

    Raises:
        InputError: A pass fails, or has no gradients.
    """
    try:
        loss = _loss(flat, task, drawn, precision)
    except InputError as error:
        if len(drawn.targets) > 1:
            raise
        raise InputError(
            f"{error}; that was a batch of one sample: give batch_size 2 or more, and as many samples"
        ) from error
    if not loss.requires_grad:
        raise InputError(
            f"the model ({type(flat.model).__name__}): its outputs have no gradients, which a curve is "
            "trained with; its forward may detach them, or run under torch.no_grad"
        )
    with guarded_call(Pass(flat.model, drawn.inputs)):
        loss.backward()
    flat.check()
    return loss


def _loss(flat: FlatModule, task: Task, drawn: Drawn, precision: str) -> Tensor:
    inputs = drawn.inputs
    if task.augment is not None:
        with guarded_call("the augmentation fails on a batch"):
            inputs = task.augment(inputs)
    with guarded_call(Pass(flat.model, inputs)), passes_in(precision, task.device):
        outputs = task.forward(flat.model, inputs)
    return task.loss(outputs.to(wide(outputs.dtype)), drawn.targets)


def passes_in(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context that passes of a precision run in, see `TrainingOptions`."""
    if precision == "full":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
