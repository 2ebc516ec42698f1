"""Models that cannot be run without their labels: one rule for the data of a task and for the probe of `watch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from connectivity_hooks.model.batches import LABELS, Batch, with_labels
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.tasks.arguments import names_argument


def needs_labels(model: nn.Module, few: Batch, runs: Callable[[Inputs], bool]) -> bool:
    """Say whether a model has to be given its targets as ``labels`` too, tried on a few samples.

    Models that make the decoder's inputs of the labels, such as T5 and Whisper, fail without. Every other model is not
    given its targets, whether it takes them or not; nor is one that fails with them too, for another reason.

    Args:
        model: What is asked of is its forward's arguments.
        few: Inputs and targets of a few samples.
        runs: Says whether the model can be run on inputs.
    """
    inputs = few[0]
    if not isinstance(inputs, Mapping) or LABELS in inputs or not names_argument(model, LABELS):
        return False
    return not runs(inputs) and runs(with_labels(few)[0])
