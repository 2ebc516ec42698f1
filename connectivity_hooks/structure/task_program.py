"""A task's program, read once: a command that needs it for every pair of checkpoints exports the model one time."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from connectivity_hooks.structure.program import Program
from connectivity_hooks.structure.reading import read_program
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

# By training split, which outlives every use of its task and gives the samples; a program holds neither.
_READ: WeakKeyDictionary[Split, dict[tuple[object, ...], Program]] = WeakKeyDictionary()


def task_program(task: Task) -> Program:
    """Read the task's model on two of its training samples, or return what was read before.

    Raises:
        InputError: See `read_program`.
    """
    known, key = _READ.setdefault(task.train, {}), (task.factory, task.device, task.dtype)
    if key not in known:
        inputs, _ = next(iter(task.train.head(2).batches(2)))
        known[key] = read_program(task.model(), inputs if len(inputs) > 1 else torch.cat([inputs, inputs]))
    return known[key]
