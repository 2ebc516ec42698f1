"""Writing weights as a checkpoint like another one: its library's names, its order, and the folder it lies in."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints.atomic import atomic_write, make_folder
from connectivity_hooks.checkpoints.constants import equal_bits
from connectivity_hooks.checkpoints.contents import Contents
from connectivity_hooks.checkpoints.fitting import fit
from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.library_names import loaded_by, stored_by
from connectivity_hooks.checkpoints.names import sources_of
from connectivity_hooks.checkpoints.reading import Checkpoint
from connectivity_hooks.checkpoints.sharded import leads_to_blob
from connectivity_hooks.checkpoints.writing import write_tensors
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.facts import base_in, folder_facts, in_words, unlike
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
    *,
    narrow: bool = False,
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
        narrow: Store the types of `like` where these hold every value; weights of bfloat16 are then so again.

    Returns:
        The names of the files written beside the weights.

    Raises:
        InputError: The library stores other tensors than `like` has, or something cannot be read or written.
        UsageError: The folder is not empty.
    """
    stored = _with_constants(_in_its_form(weights, like, model), weights, model)
    _require_way_back(stored, weights, model)
    if narrow:
        stored = _in_its_types(stored, like)
    if out.suffix == ".safetensors":
        write_tensors(out, stored, metadata)
        return ()
    require_new(out)
    make_folder(out)
    copied = tuple(_copied(like.file.parent, out, *_type_of(stored)))
    name = like.file.name if like.file.name in OF_LIBRARIES else WEIGHTS
    write_tensors(out / name, stored, metadata)
    return copied


def require_function(out: pathlib.Path, like: Checkpoint, facts: Mapping[str, str], model: str = "") -> bool:
    """Refuse a folder whose configuration, which is that of `like`, makes another function of the weights.

    Args:
        out: What is written; a file has no configuration.
        like: The checkpoint whose form is taken.
        facts: What makes the function of the weights that are written, see `Adapter.facts`.
        model: What the model of these weights is named; the base of an adapter is that of `like` too.

    Returns:
        Whether it was compared.

    Raises:
        InputError: It names the entries that differ.
    """
    if out.suffix == ".safetensors" or not facts:
        return False
    folder = like.file.parent
    own = folder_facts(folder, base_in(model))
    found = unlike(own, facts) if own else {}
    if found:
        raise InputError(
            f"{out}: would be of another model than the weights: {in_words(found, f'in {folder.name}', 'in theirs')}"
            "; name a checkpoint of their own model, or write a file *.safetensors"
        )
    return bool(own)


def require_new(out: pathlib.Path) -> None:
    """Refuse a folder that has anything in it; raise `UsageError`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already; name a new folder, or a file *.safetensors")


def _in_its_form(weights: Mapping[str, Tensor], like: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Return weights by the names that `like` has, and in their order."""
    gone = {name for name, _ in model.named_buffers()} - weights.keys()  # no longer stored by the model
    sources = _sources(like, weights.keys() | gone, model)
    if sources is None:
        return _converted(weights, like, model)
    return {source: weights[name] for name, source in sources.items() if name not in gone}


def _sources(like: Checkpoint, known: AbstractSet[str], model: nn.Module) -> dict[str, str] | None:
    """Return name in the file by name in the model; None where the file has the tensors in other shapes."""
    sources, _ = sources_of(like, known)
    if sources.keys() <= known:
        return sources
    files = {id(tensor): name for name, tensor in like.outline.items()}
    found = loaded_by(model, like.outline)
    if found.keys() <= known and len(found) == len(files) and all(id(tensor) in files for tensor in found.values()):
        return {name: files[id(tensor)] for name, tensor in found.items()}
    return None


def _converted(weights: Mapping[str, Tensor], like: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    stored = stored_by(model, weights)
    missing = [name for name in like.outline if name not in stored]
    if missing:
        raise InputError(f"{like.file}: has {shown(missing[0])}, which is no name of the model or its library")
    return {name: stored[name] for name in like.outline}


def _with_constants(stored: dict[str, Tensor], weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return what is to be stored, with constants that the library would make anew where they are others by now.

    Such are those of positions whose neurons were put in another order.
    """
    if not stored.keys() < weights.keys():
        return stored
    read = _read_back(stored, model)
    others = [name for name in weights if name not in stored and not _is_read(read, name, weights[name])]
    return {**stored, **{name: weights[name] for name in others}}


def _read_back(stored: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    outline = {name: tensor.to("meta") for name, tensor in stored.items()}
    kept = Checkpoint(outline, {}, pathlib.Path("the file to be written"), (), partial(Contents, stored, "", {}))
    return fit(kept, model).weights


def _is_read(read: Mapping[str, Tensor], name: str, expected: Tensor) -> bool:
    return name in read and equal_bits(read[name], expected)


def _require_way_back(stored: Mapping[str, Tensor], weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Read what is to be stored as a checkpoint is read, and compare all of it; raise `InputError`."""
    read = _read_back(stored, model)
    for name, expected in weights.items():
        if not _is_read(read, name, expected):
            raise InputError(f"{shown(name)}: is not read as it would be stored; write a file without --like")


def _in_its_types(stored: dict[str, Tensor], like: Checkpoint) -> dict[str, Tensor]:
    """Return tensors in the types of `like` if not one value changes, else as they are."""
    kinds = {name: like.outline[name].dtype if name in like.outline else one.dtype for name, one in stored.items()}
    found = {name: tensor.to(kinds[name]) for name, tensor in stored.items()}
    same = all(torch.equal(found[name].to(tensor.dtype), tensor) for name, tensor in stored.items())
    return found if same else stored


def _type_of(stored: Mapping[str, Tensor]) -> tuple[torch.dtype | None, bool]:
    """Return the type that holds all floating tensors, since a library rounds to what is named; whether it is all's."""
    kinds = {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()}
    return functools.reduce(torch.promote_types, kinds) if kinds else None, len(kinds) == 1


def _copied(source: pathlib.Path, out: pathlib.Path, dtype: torch.dtype | None, alone: bool) -> Iterator[str]:
    """Copy configuration and tokenizer; yield the names."""
    for file in sorted(source.iterdir()):
        belongs = file.suffix in _BESIDE and file.name not in _OF_TRAINING and not file.name.endswith(".index.json")
        astray = file.is_symlink() and not leads_to_blob(file)  # what lies elsewhere may be anybody's
        if not belongs or astray or not file.is_file() or file.stat().st_size > _LARGEST:
            continue
        with open_regular(file) as stream:
            content = stream.read()
        if file.name == "config.json" and dtype is not None:
            content = _with_type(content, dtype, alone)
        with atomic_write(out / file.name) as stream:
            stream.write(content)
        yield file.name


def _with_type(content: bytes, dtype: torch.dtype, alone: bool) -> bytes:
    """Return config.json with the type of the weights, where it names another; what is no such file stays as it is.

    Where weights are of several types it is named in any case: a library may take that of the first for all.
    """
    try:
        config = parse_json(content.decode("utf-8"))
    except (ValueError, InputError):
        return content
    name = str(dtype).removeprefix("torch.")
    if not isinstance(config, dict):
        return content
    named = [key for key in ("dtype", "torch_dtype") if config.get(key) not in (None, name)]
    if not named and not alone and not any(config.get(key) == name for key in ("dtype", "torch_dtype")):
        named = ["torch_dtype"]  # read by every version
    if not named:
        return content
    return (json.dumps({**config, **dict.fromkeys(named, name)}, indent=2) + os.linesep).encode("utf-8")
