"""Writing weights as a checkpoint like another one: its library's names, its order, and the folder it lies in."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints.atomic import atomic_write, make_folder
from connectivity_hooks.checkpoints.constants import equal_bits
from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.library_names import loaded_by, stored_by
from connectivity_hooks.checkpoints.names import sources_of
from connectivity_hooks.checkpoints.reading import Checkpoint
from connectivity_hooks.checkpoints.writing import write_tensors
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.untrusted import open_regular, parse_json

WEIGHTS = "model.safetensors"
OF_LIBRARIES = ("adapter_model.safetensors",)
"""Other names that a library looks for, and that what is written like such a file keeps."""

_BESIDE = {".json", ".txt", ".model", ".jinja", ".md", ".spm", ".vocab", ".bpe", ".tiktoken"}
"""Files of configurations and tokenizers; everything else beside weights belongs to a training."""
_OF_TRAINING = {"trainer_state.json", "watch.json"}
_LARGEST = 1 << 27  # bytes of a tokenizer's file


def write_like(
    out: pathlib.Path,
    weights: Mapping[str, Tensor],
    like: Checkpoint,
    model: nn.Module,
    metadata: Mapping[str, str],
) -> tuple[str, ...]:
    """Write weights as the checkpoint `like` is written; a folder with what lies beside its weights.

    Tensors have the names and the order of `like`, so that tied ones are stored as often as there. The way back is gone
    before anything is written: what the library reads of them is compared with the weights bit by bit.

    Args:
        out: A file ``*.safetensors``, or a folder that is new or empty.
        weights: By the names of the module's state.
        like: The checkpoint whose form is taken.
        model: The module; its library's adapter says how it is stored.
        metadata: Text for the header.

    Returns:
        The names of the files written beside the weights.

    Raises:
        InputError: The library stores other tensors than `like` has, or something cannot be read or written.
        UsageError: The folder is not empty.
    """
    stored = _in_its_form(weights, like, model)
    _require_way_back(stored, weights, model)
    if out.suffix == ".safetensors":
        write_tensors(out, stored, metadata)
        return ()
    require_new(out)
    make_folder(out)
    copied = tuple(_copied(like.file.parent, out, _type_of(stored)))
    name = like.file.name if like.file.name in OF_LIBRARIES else WEIGHTS
    write_tensors(out / name, stored, metadata)
    return copied


def require_new(out: pathlib.Path) -> None:
    """Refuse a folder that has anything in it; raise `UsageError`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already; name a new folder, or a file *.safetensors")


def _in_its_form(weights: Mapping[str, Tensor], like: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    sources, _ = sources_of(like, weights)
    if sources.keys() <= weights.keys():
        return {source: weights[name] for name, source in sources.items()}
    stored = stored_by(model, weights)
    missing = [name for name in like.outline if name not in stored]
    if missing:
        raise InputError(f"{like.file}: has {shown(missing[0])}, which is no name of the model or its library")
    return {name: stored[name] for name in like.outline}


def _require_way_back(stored: Mapping[str, Tensor], weights: Mapping[str, Tensor], model: nn.Module) -> None:
    read = stored if stored.keys() <= weights.keys() else loaded_by(model, stored)
    for name in read.keys() & weights.keys():
        if not equal_bits(read[name], weights[name]):
            raise InputError(f"{shown(name)}: is not read as it would be stored; write a file without --like")


def _type_of(stored: Mapping[str, Tensor]) -> torch.dtype | None:
    kinds = {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 else None


def _copied(source: pathlib.Path, out: pathlib.Path, dtype: torch.dtype | None) -> Iterator[str]:
    """Copy configuration and tokenizer; yield the names."""
    for file in sorted(source.iterdir()):
        belongs = file.suffix in _BESIDE and file.name not in _OF_TRAINING and not file.name.endswith(".index.json")
        if not belongs or not file.is_file() or file.stat().st_size > _LARGEST:
            continue
        with open_regular(file) as stream:
            content = stream.read()
        if file.name == "config.json" and dtype is not None:
            content = _with_type(content, dtype)
        with atomic_write(out / file.name) as stream:
            stream.write(content)
        yield file.name


def _with_type(content: bytes, dtype: torch.dtype) -> bytes:
    """Return config.json with the type of the weights, where it names another; what is no such file stays as it is."""
    try:
        config = parse_json(content.decode("utf-8"))
    except (ValueError, InputError):
        return content
    name = str(dtype).removeprefix("torch.")
    if not isinstance(config, dict):
        return content
    named = [key for key in ("dtype", "torch_dtype") if config.get(key) not in (None, name)]
    if not named:
        return content
    return (json.dumps({**config, **dict.fromkeys(named, name)}, indent=2) + os.linesep).encode("utf-8")
