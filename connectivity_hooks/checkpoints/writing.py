"""Writing checkpoints: streamed, so that no second copy of the model is in memory, and in one step on disk."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from connectivity_hooks import __version__
from connectivity_hooks.checkpoints.atomic import atomic_write
from connectivity_hooks.checkpoints.header import DTYPES
from connectivity_hooks.errors import InputError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save(
    model: nn.Module,
    file: str | os.PathLike[str],
    *,
    task: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module's parameters and buffers as a safetensors checkpoint that any strict loader takes.

    Wrappers (DataParallel, DistributedDataParallel, torch.compile) are left out of the names. Tied tensors are stored
    under each of their names. A crash leaves the old file or the new one.

    Args:
        model: The module; left as it is.
        file: The file to write.
        task: How the model is made, e.g. ``timm:resnet18?num_classes=10``; `connect` then needs no ``--model``.
        metadata: Further text for the header.

    Raises:
        InputError: The module holds state that is not a tensor, or the file cannot be written.
    """
    weights: dict[str, Tensor] = {}
    for name, value in unwrapped(model).state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise InputError(f"{file}: {name} is a {type(value).__name__}, not a tensor, and cannot be stored")
        weights[name.replace("_orig_mod.", "")] = _gathered(value.detach())
    header = {"format": "pt", "connectivity_hooks.version": __version__, **(metadata or {})}
    if task is not None:
        header["connectivity_hooks.task"] = task
    write_tensors(file, weights, header)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def write_tensors(file: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors and text as one safetensors file, a tensor at a time.

    The library's own writers copy every tensor before the first byte is written; here one tensor is copied at most,
    when it is not contiguous or not on the CPU.

    Raises:
        InputError: A tensor's type has no place in a checkpoint, or the file cannot be written.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    head = json.dumps({"__metadata__": dict(metadata), **_entries(pathlib.Path(file), tensors, order)}).encode("utf-8")
    head += b" " * (-len(head) % 8)
    with atomic_write(file) as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            if tensors[name].numel():
                flat = tensors[name].detach().cpu().contiguous().reshape(-1)
                stream.write(flat.view(torch.uint8).numpy().data)


def _entries(file: pathlib.Path, tensors: Mapping[str, Tensor], order: list[str]) -> dict[str, object]:
    entries: dict[str, object] = {}
    position = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise InputError(f"{file}: {name} has type {tensor.dtype}, which has no place in a checkpoint")
        end = position + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    return entries


def _gathered(tensor: Tensor) -> Tensor:
    gather = getattr(tensor, "full_tensor", None)  # a DTensor: every rank takes part, every rank gets the whole
    return gather() if callable(gather) else tensor
