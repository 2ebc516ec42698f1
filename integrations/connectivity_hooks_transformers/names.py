"""Names and shapes of weights in Transformers' files, where they are not those of its modules.

Since version 5 it stores some models as their first release did: ViT's layers under other names than the module has
them, experts one by one that the module holds in one tensor. Both ways are the library's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks_transformers.constants import with_constants
from connectivity_hooks_transformers.quiet import quiet


def stored(model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights, given by the names of the module's state, as the library's files have them."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5 files have the module's own names
        return weights
    found: Mapping[str, Tensor] = revert_weight_conversion(model, dict(weights))
    return found


def loaded(model: nn.Module, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return what a file holds, by the names of the module's state; as it is where that is no way of storing it.

    On the meta device nothing is computed: what the library would join or part has the module's own shapes, if the file
    has those that the module is stored in. Constants that the library stores in no file are those of a new model.
    """
    return with_constants(model, _loaded(model, given))


def _loaded(model: nn.Module, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    own = {name: tensor.detach().to("meta") for name, tensor in _state(model).items()}
    as_stored = stored(model, own)
    given = _as_today(model, as_stored, given)
    sources = {id(tensor): name for name, tensor in own.items()}
    renamed = {name: sources[id(tensor)] for name, tensor in as_stored.items() if id(tensor) in sources}
    if all(name in renamed for name in given):
        return {renamed[name]: tensor for name, tensor in given.items()}
    if any(name not in as_stored or as_stored[name].shape != tensor.shape for name, tensor in given.items()):
        return given  # whoever compares it with the module says what does not fit
    if any(tensor.is_meta for tensor in given.values()):
        return _outline(own, renamed, given)
    return _converted(model, given)


_FORMER = {".gamma": ".weight", ".beta": ".bias"}
"""What the first releases called the weights of normalisations."""


def _as_today(model: nn.Module, known: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a file's tensors with the prefix of the model inside the head, or without it, as this class stores it.

    A name is changed only where the file's is unknown and the new one is known and free.
    """
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    changed = dict(given)
    for name in [name for name in given if name not in known]:
        today = next((name.removesuffix(old) + new for old, new in _FORMER.items() if name.endswith(old)), name)
        for new in (today, f"{prefix}{today}", today.removeprefix(prefix)):
            if new in known and new not in changed:
                changed[new] = changed.pop(name)
                break
    return changed


def _outline(
    own: Mapping[str, Tensor], renamed: Mapping[str, str], given: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    missing = set(renamed) - given.keys()
    kinds = {tensor.dtype for tensor in given.values() if tensor.is_floating_point()}
    dtype = kinds.pop() if len(kinds) == 1 else None
    left_out = {renamed[name] for name in missing}
    return {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in own.items()
        if name not in left_out
    }


def _converted(model: nn.Module, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the state of a model that the library itself makes of a file's tensors."""
    kinds = [tensor.dtype for tensor in given.values() if tensor.is_floating_point()]
    dtype = max(kinds, key=lambda kind: kind.itemsize, default=torch.float32)
    cls: Any = type(model)
    with quiet():
        made = cls.from_pretrained(None, config=model.config, state_dict=dict(given), dtype=dtype)
    return {name: tensor.detach() for name, tensor in _state(made).items()}


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
