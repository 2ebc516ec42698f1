"""Infinities that belong to a model: masks and open bounds, which a fresh model has and no training changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints.contents import count_non_finite


def constants_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the model's buffers and frozen parameters that hold infinities and no NaN, by name."""
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {
        name: tensor.detach().clone()
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor) and name not in learned and _holds_infinities(tensor)
    }


def is_constant(constants: Mapping[str, Tensor], name: str, found: Tensor) -> bool:
    """Say whether `found` is the model's own constant of this name, bit for bit in the type of `found`."""
    own = constants.get(name)
    return own is not None and equal_bits(own.to(found.device, found.dtype), found)


def equal_bits(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors of one type are equal bit for bit, signed zeros included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)))


def _holds_infinities(tensor: Tensor) -> bool:
    if tensor.is_meta or not count_non_finite(tensor):
        return False
    return not bool(tensor.isnan().any())
