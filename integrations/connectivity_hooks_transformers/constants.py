"""Constants that a class of Transformers leaves out of its files and makes anew: Marian's sinusoids of positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks_transformers.quiet import quiet


def with_constants(model: nn.Module, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a file's tensors by the names of the module's state, and what the library leaves out of its files.

    That is what the class names in ``_keys_to_ignore_on_save``, and of ``_keys_to_ignore_on_load_missing`` what is not
    trained. A value is filled in only where two new models agree in it, so that it is no weight drawn at random. Of a
    file that has no other name of the module's, or lacks nothing of the kind, nothing is changed.
    """
    state = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    missing = [name for name in _left_out(model, state) if name not in given]
    if not missing or not given.keys() & state.keys():
        return given
    kinds = {tensor.dtype for tensor in given.values() if tensor.is_floating_point()}
    dtype = kinds.pop() if len(kinds) == 1 else None
    outline = any(tensor.is_meta for tensor in given.values())
    found = {name: state[name].detach().to("meta") for name in missing} if outline else _of_new_models(model, missing)
    return {
        **given,
        **{name: one.to(dtype) if dtype and one.is_floating_point() else one for name, one in found.items()},
    }


def _left_out(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Return names of the module's state that stand for a tensor of their own and that its files may lack."""
    saved = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    patterns = [re.compile(each) for each in getattr(model, "_keys_to_ignore_on_load_missing", None) or ()]
    holders: dict[int, int] = {}
    for tensor in state.values():
        holders[id(tensor)] = holders.get(id(tensor), 0) + 1
    return [
        name
        for name, tensor in state.items()
        if holders[id(tensor)] == 1
        and (name in saved or (not tensor.requires_grad and any(each.search(name) for each in patterns)))
    ]


def _of_new_models(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    """Return what two new models of the same configuration agree in."""
    cls: Any = type(model)
    drawn = []
    with quiet(), torch.random.fork_rng(), torch.device("cpu"):
        for seed in (0, 1):
            torch.manual_seed(seed)
            state = cls(model.config).state_dict()
            drawn.append({name: state[name].detach().clone() for name in names if name in state})
    first, second = drawn
    return {name: value for name, value in first.items() if torch.equal(value, second[name])}
