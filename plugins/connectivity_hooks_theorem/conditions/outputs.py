"""The outputs of a network, as it is and under masks; the one place where conditions run the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.features import Observation
from connectivity_hooks.model import Inputs, evaluation_mode, mapped
from connectivity_hooks_theorem.conditions.masking import Masking, masked
from connectivity_hooks_theorem.conditions.scaling import mean_losses


def own_outputs(observation: Observation) -> Tensor | str:
    """Return the network's own outputs (N, …), or the reason of an invalid verdict."""
    try:
        outputs, _ = outputs_under(observation, {}, 1)
    except torch.OutOfMemoryError:  # whoever asked frees memory before the next question
        raise
    except Exception as error:  # the model is a stranger's
        return one_line(error)
    return outputs[0]


def own_loss(observation: Observation, outputs: Tensor) -> float | str:
    """Return the mean loss of the network's own outputs (N, …), or the reason of an invalid verdict."""
    try:
        targets = observation.targets().to(outputs.device)
        observation.require_loss(outputs)
        loss = float(mean_losses(outputs[None], targets, observation.loss)[0])
    except Exception as error:  # the loss may be a stranger's
        return one_line(error)
    return loss if math.isfinite(loss) else f"the network's own loss is {loss:g}"


def not_one_answer(outputs: Tensor) -> str | None:
    """Return why outputs are not one answer (N, C) for each sample, which what is proven of neurons speaks of.

    Answers at positions come of one output layer used at each: N samples of T positions are up to N·T labels for it,
    and features that are averaged over positions say nothing of them.
    """
    if outputs.ndim <= 2:
        return None
    return f"outputs (N, C) are needed, one answer for each sample, found {tuple(outputs.shape)}, answers at positions"


@torch.no_grad()
def samples_that_count(observation: Observation, outputs: Tensor) -> Tensor:
    """Return which samples (N,) weigh anything in the loss, on the device of the targets; all where it does not fit."""
    targets = observation.targets()
    try:
        weights = observation.loss.terms(outputs, targets.to(outputs.device)).weights
    except InputError:
        return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
    return (weights > 0).to(targets.device)


@torch.no_grad()
def outputs_under(observation: Observation, masks: Mapping[str, Tensor], draws: int) -> tuple[Tensor, Masking]:
    """Return the network's outputs (D, N, …) under D masks at once, and what was seen on the way.

    Args:
        observation: Module and data.
        masks: As `Masking.masks`; none gives the network's own outputs.
        draws: D.

    Raises:
        InputError: No outputs can be picked of what the model returns, or they have not a row for each sample.
    """
    gathered: list[Tensor] = []
    layouts = observation.layouts() if masks else {}
    with evaluation_mode(observation.model), masked(observation.model, masks, layouts) as masking:
        for inputs, targets in observation.split.batches(max(1, observation.batch_size // draws)):
            outputs = observation.forward(observation.model, repeated(inputs, draws, len(targets)))
            gathered.append(by_draw(outputs, draws, len(targets)))
    return joined(gathered), masking


def repeated(inputs: Inputs, draws: int, samples: int) -> Inputs:
    """Return a batch's inputs `draws` times after one another; what has no row for each sample stays."""

    def more(tensor: Tensor) -> Tensor:
        own = tensor.ndim == 0 or len(tensor) != samples
        return tensor if own or draws == 1 else tensor.repeat(draws, *([1] * (tensor.ndim - 1)))

    return mapped(more, inputs)


def by_draw(outputs: Tensor, draws: int, samples: int) -> Tensor:
    """Return a model's outputs for D·B samples as (D, B, …); raise `InputError` if they have no row for each."""
    if outputs.ndim == 0 or len(outputs) != draws * samples:
        raise InputError(
            f"the model returned outputs {tuple(outputs.shape)} for {draws * samples} samples; expected a row for each"
        )
    return outputs.reshape(draws, samples, *outputs.shape[1:])


def joined(parts: list[Tensor]) -> Tensor:
    """Return the outputs (D, N, …) of all batches; raise `InputError` if their shapes differ."""
    shapes = {tuple(part.shape[2:]) for part in parts}
    if len(shapes) > 1:
        found = " and ".join(str(shape) for shape in sorted(shapes)[:2])
        raise InputError(f"the model returned outputs of different shapes for different batches, {found}")
    return torch.cat(parts, 1)
