"""A copy of a module that has none of what passes leave behind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_LARGE = 1 << 20
"""Bytes; of smaller parameters a copy costs nothing."""


def pristine(model: nn.Module) -> nn.Module | None:
    """Return a copy of a module that shares its weights and nothing else; None where it cannot be copied.

    Made before the first pass, it has none of what passes leave behind, wherever they leave it.
    """
    state = model.state_dict(keep_vars=True).values()
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in state if isinstance(tensor, Tensor)})
    except Exception:  # a stranger's module may refuse to be copied in any way
        return None


def apart(fresh: nn.Module, weights: Mapping[str, Tensor] | None) -> nn.Module:
    """Return a copy of a module with tensors of its own, of the same values.

    Args:
        fresh: The module.
        weights: The values it has, by name, of which plain parameters become views: a large module is not there once
            more. None copies all.

    Returns:
        The copy; the module itself where it cannot be copied, or there is no memory.
    """
    state = fresh.state_dict(keep_vars=True) if weights is not None else {}
    memo: dict[int, Any] = {
        id(own): nn.Parameter(weights[name], requires_grad=own.requires_grad)
        for name, own in state.items()
        if weights is not None and type(own) is nn.Parameter and _alike(own, weights[name])
    }
    try:
        return copy.deepcopy(fresh, memo)
    except Exception:  # a stranger's module may refuse to be copied in any way
        return fresh


def _alike(own: Tensor, other: Tensor) -> bool:
    same = own.shape == other.shape and own.dtype == other.dtype and own.device == other.device
    return same and own.nbytes >= _LARGE
