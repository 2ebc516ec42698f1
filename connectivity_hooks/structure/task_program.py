"""The program of a task's model, read once: the export of a large network takes longer than a pass over small data."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from connectivity_hooks.model.inputs import Inputs, concatenated, mapped, rows_of
from connectivity_hooks.structure.program import Program
from connectivity_hooks.structure.reading import read_program
from connectivity_hooks.tasks.task import Task

_READ: WeakKeyDictionary[Any, dict[tuple[object, ...], Program]] = WeakKeyDictionary()


def first_inputs(task: Task, samples: int = 2) -> Inputs:
    """Return the inputs of the first samples, at most those of a batch; the same one twice where there are no more.

    One sample alone would not tell a batch axis from another of length 1.
    """
    inputs, _ = next(iter(task.train.head(samples).batches(samples)))
    return inputs if rows_of(inputs) > 1 else concatenated([inputs, inputs])


def task_program(task: Task, model: nn.Module | None = None, samples: int = 2) -> Program:
    """Return what the task's model computes, from the first samples of the training split.

    Args:
        task: Model and data.
        model: The task's model, where one was made already; left as it was.
        samples: How many samples it is to run on at a time: some models, such as those that put a token in front of
            each sample, are traced for one number of samples.

    Raises:
        InputError: The structure cannot be read, see `read_program`.
    """
    inputs = first_inputs(task, samples)
    key = (_signature(inputs), task.forward)
    try:
        known = _READ.setdefault(task.factory, {})
    except TypeError:  # a factory that cannot be referred to weakly
        known = {}
    if key not in known:
        known[key] = read_program(task.structure() if model is None else model, inputs, task.forward)
    return known[key]


def _signature(inputs: Inputs) -> str:
    """Return what a program depends on in the inputs it was read with: all but the tensors' values."""
    return repr(mapped(lambda tensor: (tuple(tensor.shape), tensor.dtype, tensor.device), inputs))
