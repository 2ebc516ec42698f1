"""What PyTorch's own strict load makes of names that do not match: modules may fill in or rename what they load.

A batch norm without ``num_batches_tracked`` in the file, parametrised weights under their old names, a scalar stored
with one axis: ``load_state_dict(strict=True)`` takes them, since modules mend the names in hooks of their own. What it
takes is found by asking it, on a copy of the module, first on the meta device, where nothing costs memory.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def takes(model: nn.Module, outline: Mapping[str, Tensor]) -> bool:
    """Say whether a strict load of tensors with these names and shapes succeeds; no values are looked at."""
    try:
        _load(_bare(model), outline)
    except Exception:  # modules run code of their own while they load; whatever it raises, it is no success
        return False
    return True


def loaded(model: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the state of a copy of `model` after a strict load of `weights`, on the CPU, floating tensors in `dtype`.

    Raises:
        Exception: Whatever the module raises while it loads.
    """
    filled = copy.deepcopy(model).to("cpu", dtype)
    _load(filled, weights)
    return {name: tensor.detach() for name, tensor in filled.state_dict().items() if isinstance(tensor, Tensor)}


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    # State of a module's own that is no tensor is in no file; it is given back as it is, so that nothing is missing.
    extra = {name: value for name, value in model.state_dict().items() if not isinstance(value, Tensor)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that copying to the meta device copies nothing is what it is used for
        model.load_state_dict({**extra, **weights}, strict=True)


def _bare(model: nn.Module) -> nn.Module:
    """Return a copy of the module without the memory of its parameters and buffers."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)
