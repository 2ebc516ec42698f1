"""The training loss of a network whose weights come from elsewhere, with gradients, whatever its code does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from connectivity_hooks.errors import ConnectivityError, InputError, one_line
from connectivity_hooks.model import Inputs, Weights
from connectivity_hooks.structure import untouched
from connectivity_hooks.tasks import Task

_NEXT = "align by weights or activations instead"


class Found(NamedTuple):
    """The loss of a batch.

    Attributes:
        loss: A scalar with gradients.
        counts: Whether anything of the batch counts; of one of padding alone the loss is not a number.
    """

    loss: Tensor
    counts: bool


class LineLoss:
    """A task's module in evaluation mode, run under weights that are given for each batch.

    Args:
        task: Model, loss and augmentation.
        generator: Seeds whatever an augmentation draws from PyTorch's own generators, which stay as they are.
    """

    def __init__(self, task: Task, generator: Generator) -> None:
        self._task, self._generator = task, generator
        self._model = task.model().requires_grad_(False)

    def __call__(self, weights: Weights, inputs: Inputs, targets: Tensor) -> Found:
        """Return the loss of a batch, augmented as the task says.

        Args:
            weights: By the names of the module, in any floating type; those with gradients get them.
            inputs: Of the batch.
            targets: Of the batch.

        Raises:
            InputError: The model cannot be run under other weights, or its outputs have no gradients.
        """
        task = self._task
        typed = {name: each.to(task.dtype) if each.is_floating_point() else each for name, each in weights.items()}
        with with_gradients(), _seeded(self._generator, task.device), untouched(self._model):
            augmented = task.augment(inputs) if task.augment else inputs
            outputs = task.forward.under(self._model, typed, augmented)
            loss = task.loss(outputs, targets)
        if not loss.requires_grad:
            cut = "its outputs are cut off from its weights, by no_grad or detach"
            raise InputError(f"learned-matching: the model has no gradients: {cut}; {_NEXT}")
        finite = bool(loss.detach().isfinite())
        return Found(loss, finite or bool(task.loss.measure(outputs.detach(), targets).weights.any()))


@contextmanager
def with_gradients() -> Iterator[None]:
    """Say in one line what a model's code, or a gradient through it, fails with in the block.

    Raises:
        InputError: It fails.
    """
    try:
        yield
    except (ConnectivityError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"learned-matching: the model fails with gradients: {one_line(error, 200)}; {_NEXT}"
        ) from error


@contextmanager
def _seeded(generator: Generator, device: torch.device) -> Iterator[None]:
    """Give the global generators a state of the descent's own in the block."""
    seed = int(torch.randint(2**62, (), generator=generator))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(Generator().manual_seed(seed).get_state())
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
