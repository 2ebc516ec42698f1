"""What checkpoints were trained for: model, data and loss."""

from connectivity_hooks.tasks.augmenting import Augment
from connectivity_hooks.tasks.guessing import Guess, guess
from connectivity_hooks.tasks.loss import IGNORED, LOSSES, Loss, Terms, custom_loss
from connectivity_hooks.tasks.making import make_task
from connectivity_hooks.tasks.split import CachedSplit, Drawn, Split
from connectivity_hooks.tasks.task import Task

__all__ = [
    "IGNORED",
    "LOSSES",
    "Augment",
    "CachedSplit",
    "Drawn",
    "Guess",
    "Loss",
    "Split",
    "Task",
    "Terms",
    "custom_loss",
    "guess",
    "make_task",
]
