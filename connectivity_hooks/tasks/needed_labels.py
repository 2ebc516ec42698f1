"""Models that cannot be run without their labels: one rule for the data of a task and for the probe of `watch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from connectivity_hooks.model.batches import LABELS, Batch, with_labels
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.tasks.arguments import names_argument


def needs_labels(model: nn.Module, few: Batch, runs: Callable[[Inputs], bool]) -> bool:
    """Say whether a model has to be given its targets as ``labels`` too, tried on a few samples.

    Models that make the decoder's inputs of the labels, such as T5 and Whisper, fail without; BART then takes those of
    the encoder, which nobody trained it for. Every other model is not given its targets, whether it takes them or not;
    nor is one that fails with them too, for another reason.

    Args:
        model: What is asked of is its forward's arguments.
        few: Inputs and targets of a few samples.
        runs: Says whether the model can be run on inputs.
    """
    inputs = few[0]
    if not isinstance(inputs, Mapping) or LABELS in inputs or not names_argument(model, LABELS):
        return False
    return (_decodes(model, few) or not runs(inputs)) and runs(with_labels(few)[0])


def _decodes(model: nn.Module, few: Batch) -> bool:
    """Say whether a model has a decoder that is to begin from labels (N, T), since the batch gives it nothing else."""
    inputs, targets = few
    decoder = any(str(name).startswith("decoder_input") for name in inputs)
    whole = targets.ndim == 2 and not targets.is_floating_point()
    return whole and not decoder and bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
