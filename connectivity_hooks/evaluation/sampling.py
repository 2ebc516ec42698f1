"""The weights at one t of a path, as a checkpoint has them: derived tensors computed, corrected where asked."""

from __future__ import annotations

import torch

from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.evaluation.spectral_norm import norms_inside, recompute, spectral_norms
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.fitting import require_fit
from connectivity_hooks.paths.path import Path
from connectivity_hooks.tasks.task import Task


def sampled(path: Path, t: float) -> Weights:
    """Return the path's own weights at `t`, with the vectors of spectral norms computed from them.

    Args:
        path: The path.
        t: In [0, 1].
    """
    weights = path(t)
    recompute(norms_inside(path, t, spectral_norms(path.start)), weights)
    return weights


def corrected_sample(path: Path, t: float, task: Task, correction: Correction) -> Weights:
    """Return the corrected weights at `t`, in the types of the path and on the processor.

    Args:
        path: The path.
        t: In [0, 1].
        task: Model and data that the correction measures with, in the task's type; see `computing_type`.
        correction: What is done to the weights.

    Raises:
        InputError: The path does not fit the model, or the correction cannot be used with it.
    """
    moving = ModelOnPath(path, task)
    require_fit(path, moving.model)
    Corrected(moving, correction).go(t)
    return {name: moving.weights[name].to("cpu", own.dtype, copy=True) for name, own in path.start.items()}


def computing_type(path: Path) -> torch.dtype:
    """Return the type to correct a path in: the widest floating type of its weights, float32 at least."""
    wide = torch.float32
    for tensor in path.start.values():
        wide = torch.promote_types(wide, tensor.dtype) if tensor.is_floating_point() else wide
    return wide
