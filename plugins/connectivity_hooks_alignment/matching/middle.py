"""The loss half way between two checkpoints: what alignments are compared by."""

from __future__ import annotations

import torch

from connectivity_hooks.evaluation import ModelOnPath, score
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Split, Task

SAMPLES = 2048
"""Drawn once from a split: the loss at the middle is then known to a few hundredths of its spread over samples, and
large data costs no more than small."""


def measured_part(split: Split, seed: int) -> Split:
    """Return the samples of a split that middles are measured on: all, or `SAMPLES` drawn once."""
    return split if len(split) <= SAMPLES else split.sample(SAMPLES, seed)


@torch.no_grad()
def middle_loss(a: Weights, b: Weights, task: Task, split: Split) -> float:
    """Return the mean loss of a split at the middle of the straight line from `a` to `b`."""
    moving = ModelOnPath(Path.from_points([a, b]), task)
    moving.go(0.5)
    batches = ((task.forward(moving.model, inputs), targets) for inputs, targets in split.batches(task.batch_size))
    return float(score(batches, task.loss).losses.mean())
