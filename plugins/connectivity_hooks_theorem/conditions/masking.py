"""Dropping neurons of layers in a forward pass, several ways at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.stream import evaluation_mode

INPUT = ":input"


@dataclass
class Masking:
    """What was seen while neurons were dropped.

    Attributes:
        fired: Layers whose feature was seen.
        spoilt: For each of them whether it held NaN or Inf, a scalar on the device.
    """

    fired: set[str] = field(default_factory=set)
    spoilt: dict[str, Tensor] = field(default_factory=dict)

    def apply(self, layer: str, value: Any, mask: Tensor) -> Any:
        """Return a feature with the dropped neurons at 0."""
        if not isinstance(value, Tensor) or value.ndim < 2:
            return value
        bad = ~torch.isfinite(value).all()
        self.spoilt[layer] = self.spoilt[layer] | bad if layer in self.spoilt else bad
        self.fired.add(layer)
        rows = mask.to(value).repeat_interleave(len(value) // len(mask), 0)
        if value.ndim > 3:  # feature maps: channels first
            return value * rows.view(*rows.shape, *([1] * (value.ndim - 2)))
        return value * (rows if value.ndim == 2 else rows[:, None, :])


@contextmanager
def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[Masking]:
    """Drop neurons in every forward pass inside the block.

    Args:
        model: The module; its hooks are as before when the block ends.
        masks: For each layer, or ``NAME:input``, a mask (D, n) of the neurons kept. A batch of D·B samples has the D
            masks in turn, each for B samples.
    """
    masking, handles = Masking(), []

    def output(layer: str) -> Any:
        return lambda module, args, value: masking.apply(layer, value, masks[layer])

    def entry(layer: str) -> Any:
        return lambda module, args: (masking.apply(layer, args[0], masks[layer]), *args[1:]) if args else None

    try:
        for layer in masks:
            module = model.get_submodule(layer.removesuffix(INPUT))
            if layer.endswith(INPUT):
                handles.append(module.register_forward_pre_hook(entry(layer)))
            else:
                handles.append(module.register_forward_hook(output(layer)))
        yield masking
    finally:
        for handle in handles:
            handle.remove()


def widths_of(observation: Observation) -> dict[str, int]:
    """Return the neurons of each layer that fires."""
    first = observation.split.head(1)
    probe = Observation(observation.model, first, observation.loss, observation.layers, 1)
    features, _ = next(probe.batches())
    return {layer: value.shape[1] for layer, value in features.items()}


@torch.no_grad()
def outputs_under(observation: Observation, masks: Mapping[str, Tensor], draws: int) -> tuple[Tensor, Masking]:
    """Return the network's outputs (D, N, …) under D masks at once, and what was seen on the way.

    Args:
        observation: Module and data.
        masks: As for `masked`; none gives the network's own outputs.
        draws: D.

    Raises:
        InputError: The model returns something else than a tensor.
    """
    gathered: list[Tensor] = []
    with evaluation_mode(observation.model), masked(observation.model, masks) as masking:
        for inputs, _ in observation.split.batches(max(1, observation.batch_size // draws)):
            outputs = observation.model(_repeated(inputs, draws))
            if not isinstance(outputs, Tensor):
                raise InputError(f"the model returned {type(outputs).__name__}, expected one tensor")
            gathered.append(outputs.view(draws, -1, *outputs.shape[1:]))
    return torch.cat(gathered, 1), masking


def _repeated(inputs: Tensor, draws: int) -> Tensor:
    return inputs if draws == 1 else inputs.repeat(draws, *([1] * (inputs.ndim - 1)))
