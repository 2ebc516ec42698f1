"""Batch-norm statistics measured anew for weights that no training run has seen."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from connectivity_hooks.tasks.split import Split

SAMPLES = 16384


@torch.no_grad()
def reestimate(model: nn.Module, split: Split, batch_size: int, samples: int = SAMPLES) -> None:
    """Replace every running mean and variance by the average over fixed batches of `split`.

    The average is cumulative (``momentum=None``) over full batches of the first `samples` samples, with only the
    batch norms in training mode; the module is left in evaluation mode (Izmailov et al. 2018, section 3.3).
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        size = min(batch_size, len(split))
        for inputs, _ in split.head(min(samples, len(split) // size * size)).batches(size):
            if len(inputs) == size:
                model(inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()


def has_batch_norm(model: nn.Module) -> bool:
    """Say whether any statistics of `model` could be re-estimated."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())
