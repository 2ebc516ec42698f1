"""Making a safetensors checkpoint of a pickle, without running its code."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.reading import read
from connectivity_hooks.checkpoints.writing import write_tensors
from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import open_regular

KEYS = ("state_dict", "model", "model_state_dict", "module", "net", "weights")
AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")


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

    Args:
        source: A file written by ``torch.save``, or a safetensors file.
        target: The file to write.
        key: Which entry holds the weights; needed where several do, such as trained and averaged (EMA) ones.
        prefix: Keep only names under it, and strip it.
        dtype: Floating type to store; None leaves it.

    Raises:
        InputError: The file cannot be read without running code, holds no weights, or more than one set of them.
    """
    source = pathlib.Path(source)
    state, notes = _state(source, key)
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    left_out = sorted(shown(str(name)) for name in state.keys() - weights.keys())
    if left_out:
        notes.append(f"{source.name}: left out, not tensors: {', '.join(left_out[:20])}")
    if prefix is not None:
        weights = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
    if not weights:
        under = f" under {prefix!r}" if prefix else ""
        raise InputError(f"{source}: holds no tensors{under}; its names start with {_starts(state)}")
    if dtype is not None:
        kind = getattr(torch, dtype)
        weights = {name: value.to(kind) if value.is_floating_point() else value for name, value in weights.items()}
    write_tensors(target, weights, {"format": "pt", "connectivity_hooks.converted_from": source.name})
    return Converted(len(weights), tuple(notes))


def _state(source: pathlib.Path, key: str | None) -> tuple[Mapping[str, Any], list[str]]:
    with open_regular(source) as stream:
        start = stream.read(9)
    if start[8:9] == b"{":
        if key is not None:
            raise InputError(f"{source}: is a safetensors file and has no entry {key!r}; leave --key out")
        return read(source).weights, []
    loaded = load_plain(source)
    return _choose(source, loaded, key)


def load_plain(source: pathlib.Path) -> Any:
    """Return the tensors and plain containers that `torch.save` wrote; raise `InputError` when reading needs code."""
    # timm's training script stores its arguments as a Namespace: plain data, safe to rebuild.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds; all mean the same to the user
        named = re.search(r"(?:GLOBAL|Unsupported global: GLOBAL|Unsupported class) `?([\w.]+)", str(error))
        reason = f"it needs {named[1]}, which is code" if named else shown(str(error).partition("\n")[0])
        raise InputError(
            f"{source}: cannot be read without running code: {reason}; save its state_dict alone"
        ) from None


def _choose(source: pathlib.Path, loaded: Any, key: str | None) -> tuple[Mapping[str, Any], list[str]]:
    if not isinstance(loaded, Mapping):
        raise InputError(f"{source}: holds a {type(loaded).__name__}, expected a state dict or a dict with one")
    candidates = [name for name in (*KEYS, *AVERAGED) if _is_state(loaded.get(name))]
    if key is not None:
        if not _is_state(loaded.get(key)):
            raise InputError(f"{source}: has no weights under {key!r}; {_offer(candidates, loaded)}")
        return loaded[key], [f"{source.name}: weights taken from {key!r}"]
    if len(candidates) > 1:
        raise InputError(
            f"{source}: {_offer(candidates, loaded)}; say which with --key, the same for both ends of a path"
        )
    if candidates:
        return loaded[candidates[0]], [f"{source.name}: weights taken from {candidates[0]!r}"]
    if not _is_state(loaded):
        raise InputError(f"{source}: holds no weights; its entries are {_starts(loaded)}")
    return loaded, []


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(tensor, Tensor) for tensor in value.values())


def _offer(candidates: list[str], loaded: Mapping[Any, Any]) -> str:
    if not candidates:
        return f"its entries are {_starts(loaded)}"
    return f"holds {len(candidates)} sets of weights: {', '.join(candidates)}"


def _starts(names: Mapping[Any, Any]) -> str:
    return ", ".join(shown(str(name)) for name in list(names)[:8]) or "none"
