"""A copy of a module that has none of what passes leave behind."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def pristine(model: nn.Module) -> nn.Module | None:
    """Return a copy of a module that shares its weights and nothing else; None where it cannot be copied.

    Made before the first pass, it has none of what passes leave behind, wherever they leave it.
    """
    state = model.state_dict(keep_vars=True).values()
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in state if isinstance(tensor, Tensor)})
    except Exception:  # a stranger's module may refuse to be copied in any way
        return None
