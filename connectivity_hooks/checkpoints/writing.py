"""Writing checkpoints: streamed, so that no second copy of the model is in memory, and in one step on disk."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from connectivity_hooks.checkpoints.atomic import atomic_write
from connectivity_hooks.checkpoints.header import (
    DTYPES,
    Malformed,
    check_name,
    longest_name,
    read_header,
    shown,
    shown_key,
)
from connectivity_hooks.errors import InputError
from connectivity_hooks.memory import in_words, require_memory
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.untrusted import guarded
from connectivity_hooks.version import __version__

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save(
    model: nn.Module,
    file: str | os.PathLike[str],
    *,
    task: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module's parameters and buffers as a safetensors checkpoint that any strict loader takes.

    Wrappers (DataParallel, DistributedDataParallel, torch.compile, AveragedModel) are left out of the names; of an
    AveragedModel the averaged weights are written. Tied tensors are stored under each of their names. A crash leaves
    the old file or the new one.

    Args:
        model: The module; left as it is.
        file: The file to write.
        task: How the model is made, e.g. ``timm:resnet18?num_classes=10``; `connect` then needs no ``--model``.
        metadata: Further text for the header.

    Raises:
        InputError: The module holds state that is not a tensor, is lazy and has not run yet, or the file cannot be
            written.
    """
    weights = {name.replace("_orig_mod.", ""): value for name, value in _state(unwrapped(model), file).items()}
    header = {"format": "pt", "connectivity_hooks.version": __version__, **(metadata or {})}
    if task is not None:
        header["connectivity_hooks.task"] = task
    write_tensors(file, weights, header)


def write_tensors(
    file: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write named tensors and text as one safetensors file, a tensor at a time.

    The library's own writers copy every tensor before the first byte is written; here one tensor is copied at most,
    when it is not contiguous, not on the CPU, or of another type. Our own reader takes the header before it is written.

    Args:
        file: The file to write.
        tensors: Tensors by name.
        metadata: Text by name.
        dtype: Type to store floating tensors in; None leaves it.

    Raises:
        InputError: A tensor or its name has no place in a checkpoint, the file would be larger than the room on its
            disk, or it cannot be written.
    """
    path = pathlib.Path(file)
    _require_names(path, tensors, longest_name(metadata))
    order = sorted(tensors, key=lambda name: (-_stored_as(tensors[name], dtype).itemsize, name))
    entries, size = _entries(path, tensors, order, dtype)
    head = json.dumps({"__metadata__": dict(metadata), **entries}).encode("utf-8")
    head += b" " * (-len(head) % 8)
    head = len(head).to_bytes(8, "little") + head
    _require_readable(path, head, size)
    _require_room(path, len(head) + size, max(tensors, key=lambda name: tensors[name].numel(), default=""))
    with atomic_write(path) as stream:
        stream.write(head)
        for name in order:
            if tensors[name].numel():
                stream.write(_bytes(path, name, tensors[name], dtype))


def _state(model: nn.Module, file: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the module's state to be written, every sharded tensor whole."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{file}: {name} is a {type(value).__name__}, not a tensor, and cannot be stored; let its "
                "get_extra_state return a tensor, or keep it in a buffer"
            )
        if is_lazy(value):
            raise InputError(f"{file}: {name} has no shape yet (lazy); run the model once on a batch, then save it")
        state[name] = gathered(value.detach())
    return state


def _require_names(file: pathlib.Path, names: Iterable[object], longest: int) -> None:
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{file}: a tensor under the key {shown_key(name)} cannot be stored; names are text")
        try:
            check_name(name, longest)
        except Malformed as fault:
            raise InputError(f"{file}: {fault}; rename it") from None


def _entries(
    file: pathlib.Path, tensors: Mapping[str, Tensor], order: list[str], dtype: torch.dtype | None
) -> tuple[dict[str, object], int]:
    """Return the header's entries and how many bytes their tensors have."""
    entries: dict[str, object] = {}
    position = 0
    for name in order:
        tensor = tensors[name]
        kind = _stored_as(tensor, dtype)
        fault = _fault(tensor, kind)
        if fault:
            raise InputError(f"{file}: {shown(name)} {fault}")
        end = position + tensor.numel() * kind.itemsize
        entries[name] = {"dtype": _NAMES[kind], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    return entries, position


def _fault(tensor: Tensor, kind: torch.dtype) -> str:
    """Say why a tensor has no place in a checkpoint, and what to do; empty where it has."""
    if tensor.is_meta:
        return "is on the meta device and has no values; make the model with its weights"
    if tensor.is_quantized:
        return f"is quantized ({kind}); store its dequantize()"
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"is not a dense tensor ({tensor.layout}); store its to_dense() or its parts"
    if kind.is_complex:
        return f"has type {kind}, which has no place in a checkpoint; store torch.view_as_real of it"
    if kind not in _NAMES:
        return f"has type {kind}, which has no place in a checkpoint; store it as float32 or int64"
    return ""


def _stored_as(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def _require_readable(file: pathlib.Path, head: bytes, size: int) -> None:
    """Let our own reader judge what is about to be written: a header that is too long, metadata that is not text."""
    try:
        read_header(io.BytesIO(head), len(head) + size)
    except Malformed as fault:
        raise InputError(f"{file}: is not written, since it could not be read: it {fault}") from None


def _require_room(file: pathlib.Path, size: int, largest: str) -> None:
    try:
        free = shutil.disk_usage(file.parent).free
    except OSError:
        return  # no such folder: said where the file is made
    if size > free:
        raise InputError(
            f"{file}: needs {in_words(size)}, {in_words(free)} are free on its disk; make room, or look at its largest "
            f"tensor, {shown(largest)}"
        )


def _bytes(file: pathlib.Path, name: str, tensor: Tensor, dtype: torch.dtype | None) -> memoryview:
    kind = _stored_as(tensor, dtype)
    with guarded(f"{file}: {shown(name)}", "a tensor that can be stored"):
        if tensor.untyped_storage().nbytes() < tensor.nbytes:  # an expanded view, whose copy is larger than itself
            require_memory(tensor.numel() * kind.itemsize, f"{file}: {shown(name)}", "store what it is a view of")
        flat = tensor.detach().resolve_neg().to("cpu", kind).contiguous().reshape(-1)
        view: memoryview = flat.view(torch.uint8).numpy().data
    return view


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor whole: of a DTensor every process takes part, and every process gets it."""
    gather = getattr(tensor, "full_tensor", None)
    return gather() if callable(gather) else tensor
