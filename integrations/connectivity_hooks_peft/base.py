"""The base of adapters: read once, its tensors shared by every module that is made on it."""

from __future__ import annotations

import copy
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from connectivity_hooks.checkpoints import read
from connectivity_hooks.errors import InputError
from connectivity_hooks.held_values import tensor_digest
from connectivity_hooks.registry import registry
from connectivity_hooks.untrusted import guarded
from connectivity_hooks_peft.quiet import quiet

_READ: dict[str, tuple[object, nn.Module, str]] = {}
"""The base read last, by what it was made of; adapters are compared on one."""


def base(folder: pathlib.Path, arguments: Mapping[str, object], heads: tuple[str, ...]) -> tuple[nn.Module, str]:
    """Return a new module of the base that shares its parameters with every other one made so, and their digest.

    On the meta device it has shapes alone, and nothing is read.

    Args:
        folder: What ``save_pretrained`` wrote.
        arguments: For the adapter of Transformers: ``task``, and entries of the configuration.
        heads: Names of modules that adapters bring themselves; the base need not have them.

    Raises:
        InputError: Transformers is not installed, or the folder has no weights for this model.
    """
    if torch.empty(0).is_meta:
        return _made(folder, arguments), ""
    key = (str(folder.resolve()), repr(sorted(arguments.items())), heads, _changes(folder))
    if _READ.get("last", (None,))[0] != key:
        _READ.clear()
        loaded = _loaded(folder, arguments, heads)
        _READ["last"] = (key, loaded, _digest(loaded, heads))
    _, model, digest = _READ["last"]
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()}), digest


def _digest(model: nn.Module, heads: tuple[str, ...]) -> str:
    """Return a digest of names and values of a base, of whatever types; what adapters bring is not of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor) and not _in(name, heads):
            digest.update(f"{name}\0{tensor_digest(_in_one_type(tensor))}\0".encode())
    return digest.hexdigest()


def _in_one_type(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same values in float32 where it holds them: a base that was saved in a wider type is the same."""
    narrow = tensor.float() if tensor.is_floating_point() else tensor
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor


def _made(folder: pathlib.Path, arguments: Mapping[str, object]) -> nn.Module:
    return registry().adapter("transformers").create(str(folder), arguments)


def _changes(folder: pathlib.Path) -> tuple[tuple[str, int, int], ...]:
    """Return what tells whether files of a folder were written since."""
    stats = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _loaded(folder: pathlib.Path, arguments: Mapping[str, object], heads: tuple[str, ...]) -> nn.Module:
    """Return the model that the library itself makes of a folder's tensors, with none missing but heads."""
    outline: Any = _made(folder, arguments)
    stored = read(folder)
    with quiet(), guarded(stored.file, "weights of the base", "save the base again"):
        model, found = type(outline).from_pretrained(
            None,
            config=outline.config,
            state_dict=dict(stored.weights),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    if hasattr(outline, "loss_type"):
        model.loss_type = outline.loss_type
    misfits = [name for name in found["missing_keys"] if not _in(name, heads)]
    if misfits:
        raise InputError(
            f"{stored.file}: lacks {_listed(misfits)} of a {type(outline).__name__}, which the adapter does not bring "
            "either; use the base that the adapter was trained on"
        )
    shapes = [each[0] if isinstance(each, tuple) else each for each in found["mismatched_keys"]]
    if any(not _in(name, heads) for name in shapes):
        raise InputError(
            f"{stored.file}: {_listed(shapes)} is of another shape than config.json says; save the base again"
        )
    wide = torch.promote_types(torch.float32, next(iter(model.parameters())).dtype)
    made: nn.Module = model.to(wide).eval()
    return made


def _in(name: str, modules: tuple[str, ...]) -> bool:
    return any(part in modules for part in name.split("."))


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
