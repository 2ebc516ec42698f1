"""Weights: parameters and buffers by dotted name, and how they get into a module without rebuilding it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

Weights: TypeAlias = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    """Return the module's own parameters and persistent buffers, sharing their memory."""
    state = model.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in state.items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def assign(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copy `source` into `target` in place; both have the same names and shapes."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


def same(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors are equal bit for bit, NaN and signed zeros included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a is b or torch.equal(_bits(a), _bits(b.to(a.device)))


def _bits(tensor: Tensor) -> Tensor:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(integers[tensor.element_size()]) if tensor.is_floating_point() else tensor
