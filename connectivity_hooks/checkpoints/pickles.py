"""Making a safetensors checkpoint of a pickle, without running its code."""

from __future__ import annotations

import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.checkpoints.header import START, looks_pickled, shown, shown_key
from connectivity_hooks.checkpoints.plain import plain_globals
from connectivity_hooks.checkpoints.reading import read
from connectivity_hooks.checkpoints.weight_sets import choose, entries
from connectivity_hooks.checkpoints.writing import write_tensors
from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.memory import require_memory
from connectivity_hooks.untrusted import guarded, open_regular


@dataclass(frozen=True)
class Converted:
    """What a conversion did: how many tensors it wrote, and what a person should know."""

    tensors: int
    notes: tuple[str, ...]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str | None = None,
    dtype: str | None = None,
) -> Converted:
    """Write the weights of a pickle, or of a safetensors file, as a safetensors file.

    What is written is what `read` takes: a tensor that has no place in a checkpoint is refused by name.

    Args:
        source: A file written by ``torch.save``, or a safetensors file.
        target: The file to write.
        key: Which entry holds the weights; needed where several do, such as trained and averaged (EMA) ones.
        prefix: Keep only names under it, and strip it.
        dtype: Floating type to store; None leaves it.

    Raises:
        InputError: The file cannot be read without running code, holds no weights, or more than one set of them; or
            what it holds cannot be stored.
    """
    source = pathlib.Path(source)
    with guarded(source, "a checkpoint that can be converted"):
        state, notes = _state(source, key)
        weights, left_out = _tensors(source, state)
    if left_out:
        notes.append(f"{source.name}: left out, not tensors: {', '.join(left_out[:20])}")
    if prefix:
        weights = _under(source, weights, prefix)
    if not weights:
        under = f" under {prefix!r}" if prefix else ""
        raise InputError(f"{source}: holds no tensors{under}; its names start with {entries(state)}")
    kind = None if dtype is None else getattr(torch, dtype)
    write_tensors(target, weights, {"format": "pt", "connectivity_hooks.converted_from": source.name}, dtype=kind)
    return Converted(len(weights), tuple(notes))


def load_plain(source: pathlib.Path) -> Any:
    """Return the tensors and plain data that `torch.save` wrote; raise `InputError` when reading needs code."""
    _require_memory(source)
    try:
        with torch.serialization.safe_globals(plain_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they advise on sparse tensors and old types, which are refused by name
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds; all mean the same to the user
        raise InputError(
            f"{source}: cannot be read without running code: {_reason(error)}; save its state_dict alone"
        ) from None


def _state(source: pathlib.Path, key: str | None) -> tuple[Mapping[Any, Any], list[str]]:
    with open_regular(source) as stream:
        start = stream.read(START)
    if not looks_pickled(start) and start[8:9] == b"{":
        if key is not None:
            raise InputError(f"{source}: is a safetensors file and has no entry {key!r}; leave --key out")
        return read(source).weights, []
    return choose(source, load_plain(source), key)


def _tensors(source: pathlib.Path, state: Mapping[Any, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by name, and the names of all that is none."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name in tensors:
        if not isinstance(name, str):
            raise InputError(f"{source}: has a tensor under the key {shown_key(name)}; expected names, as a module has")
    return tensors, sorted(shown_key(name) for name, value in state.items() if not isinstance(value, Tensor))


def _under(source: pathlib.Path, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if prefix in weights:
        raise InputError(f"{source}: {prefix!r} is the whole name of a tensor; a prefix is what stands before several")
    kept = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
    if kept and all(name.startswith(".") for name in kept):  # `net` for `net.`
        kept = {name[1:]: value for name, value in kept.items()}
    return kept


def _require_memory(source: pathlib.Path) -> None:
    """Refuse a zip whose members are larger than memory once they are unpacked, however small the file is."""
    with open_regular(source) as stream, guarded(source, "a file of torch.save"):
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                size = sum(member.file_size for member in archive.infolist())
            require_memory(size, source, "use a machine with more")


def _reason(error: Exception) -> str:
    text = str(error)
    named = re.search(r"(?:GLOBAL|Unsupported global: GLOBAL|Unsupported class) `?([\w.]+)", text)
    if named:
        return f"it needs {named[1]}, which is code"
    # PyTorch's first line advises to read the file with code; what is wrong stands after this mark.
    _, mark, cause = text.partition("WeightsUnpickler error: ")
    return shown(cause.strip().partition("\n")[0] if mark else one_line(error, 120))
