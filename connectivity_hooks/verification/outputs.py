"""The outputs of a model under the weights it has, on all samples of a split, and that they are its own again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import placed
from connectivity_hooks.strangers import Pass, guarded_call
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.verification.rounding import outputs_tolerance, relative_deviation


@torch.no_grad()
def outputs_of(model: nn.Module, task: Task, samples: Split) -> Tensor:
    """Return the outputs (N, …) of N samples, floating inputs in the task's type.

    Args:
        model: The module, made by the task.
        task: Says how the module is run, and on how many samples at a time.
        samples: N samples.

    Raises:
        InputError: The model fails, in one line that names it and the shape of the batch.
    """
    return torch.cat(list(_batches(model, task, samples)))


def _batches(model: nn.Module, task: Task, samples: Split) -> Iterator[Tensor]:
    """Yield the outputs batch by batch; those of sequences may have a length for each."""
    for given, _ in samples.batches(task.batch_size):
        inputs = placed(given, dtype=task.dtype)
        with guarded_call(Pass(model, inputs)):
            yield task.forward(model, inputs)


@torch.no_grad()
def require_repeated(model: nn.Module, task: Task, samples: Split) -> None:
    """Refuse a model whose outputs are others when it runs again: no claim about them can be checked.

    Raises:
        InputError: They differ by more than rounding explains.
    """
    with torch.random.fork_rng(devices=[]):
        first, second = (list(_batches(model, task, samples)) for _ in range(2))
    change = max(relative_deviation(again, before) for before, again in zip(first, second, strict=True))
    if not change <= outputs_tolerance(task.dtype):
        raise InputError(
            f"the model's outputs deviate by {change:.1e} when it runs again under the same weights, in evaluation "
            "mode: nothing can be verified of a model that is random, or depends on earlier passes"
        )
