"""Which file of a folder is its checkpoint: one of safetensors or an index of several, and never a pickle."""

from __future__ import annotations

import pathlib

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.errors import InputError

INDEX = ".safetensors.index.json"

_PICKLES = ("pytorch_model*.bin", "adapter_model.bin")
"""Names that Transformers and PEFT gave their weights before safetensors; other pickles there belong to a training."""


def in_folder(path: pathlib.Path) -> tuple[pathlib.Path, tuple[str, ...]]:
    """Return the file that holds a checkpoint, or the index of those that do, and what to say of it.

    Args:
        path: A file, which is returned as it is, or a folder.

    Raises:
        InputError: A folder holds no safetensors checkpoint, or several.
    """
    if not path.is_dir():
        return path, ()
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    single = path / "model.safetensors"
    found = [single] if single.exists() else _candidates(path)
    if not found and pickles:
        raise InputError(_pickles_alone(path, pickles))
    if len(found) != 1:
        names = ", ".join(shown(file.name) for file in found[:5]) or "none"
        raise InputError(f"{path}: expected one safetensors checkpoint in this folder, found {names}; name the file")
    note = f"{found[0].name} is read, and not the pickle beside it, {shown(pickles[0])}" if pickles else ""
    return found[0], (note,) if note else ()


def _candidates(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("*" + INDEX)) or sorted(folder.glob("*.safetensors"))


def _pickles_alone(folder: pathlib.Path, pickles: list[str]) -> str:
    fault = f"{folder}: holds its weights in pickles alone ({shown(pickles[0])}), which can run code when they are read"
    if len(pickles) > 1:
        return f"{fault}; load it with its library, and save it again by save_pretrained"
    name = pathlib.PurePath(pickles[0].removeprefix("pytorch_")).with_suffix(".safetensors")
    source, target = shown(str(folder / pickles[0])), shown(str(folder / name))
    return f"{fault}; make a safetensors file of it with connectivity-hooks convert {source} {target}"
