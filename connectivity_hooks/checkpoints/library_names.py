"""A library's own way of storing a model: other names than the module's, tensors in parts or joined.

Whatever the library says is looked at again by whoever asked: names and shapes are compared with the module's after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from connectivity_hooks.checkpoints.contents import Contents, count_non_finite
from connectivity_hooks.checkpoints.difference import listed
from connectivity_hooks.checkpoints.reading import Checkpoint
from connectivity_hooks.contracts.adapter import Adapter
from connectivity_hooks.errors import InputError
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import guarded_call


def under_own_names(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """Return a checkpoint with the names and shapes of the module's state, where its library stores others.

    Nothing is read here: what is read later passes through the same adapter.

    Raises:
        InputError: The adapter of the library fails.
    """
    adapter = registry().adapter_of(model)
    if adapter is None:
        return checkpoint
    outline = _loaded(adapter, model, checkpoint.outline)
    if outline.keys() == checkpoint.outline.keys():
        return checkpoint
    made = [name for name in outline if name not in checkpoint.outline]
    note = f"{checkpoint.label}: stored as {adapter.prefix} does, which is read under the module's own names"
    if outline.keys() > checkpoint.outline.keys():
        note = f"{checkpoint.label}: in no file of {adapter.prefix}, which makes it anew: {listed(tuple(made))}"
    return replace(
        checkpoint,
        outline=outline,
        notes=(*checkpoint.notes, note),
        _read=partial(_contents, checkpoint, model, adapter, outline),
    )


def _contents(checkpoint: Checkpoint, model: nn.Module, adapter: Adapter, outline: Mapping[str, Tensor]) -> Contents:
    stored = checkpoint.contents
    weights = _loaded(adapter, model, stored.weights)
    for name, expected in outline.items():
        if name not in weights or weights[name].shape != expected.shape:
            raise InputError(
                f"{checkpoint.file}: adapter {adapter.prefix} read no {name} of shape {tuple(expected.shape)}"
            )
    counted = {id(tensor): stored.non_finite.get(name, 0) for name, tensor in stored.weights.items()}
    bad = {name: counted.get(id(tensor), -1) for name, tensor in weights.items()}
    bad = {name: count_non_finite(weights[name]) if count < 0 else count for name, count in bad.items()}
    return Contents(weights, stored.sha256, {name: count for name, count in bad.items() if count})


def loaded_by(model: nn.Module, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return what a file of the model's library holds by the names of the module's state; as it is without an adapter.

    Raises:
        InputError: The adapter fails.
    """
    adapter = registry().adapter_of(model)
    return stored if adapter is None else _loaded(adapter, model, stored)


def stored_by(model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights of the module's state as its library's files have them; as they are without an adapter.

    Raises:
        InputError: The adapter fails.
    """
    adapter = registry().adapter_of(model)
    if adapter is None:
        return weights
    with guarded_call(f"adapter {adapter.prefix}"):
        return adapter.stored(model, weights)


def _loaded(adapter: Adapter, model: nn.Module, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    with guarded_call(f"adapter {adapter.prefix}"):
        return adapter.loaded(model, stored)
