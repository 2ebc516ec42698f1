"""The simplex file, ``connectivity_hooks.simplex/1``: a safetensors file any reader can follow.

Tensors ``vertex.<i>/<name>`` hold vertex i, checkpoints first; what equals that of vertex 0 is not stored again. The
header metadata holds ``format``, ``vertices``, ``simplices``, ``coordinates``, ``dtypes``, ``log_volume``, ``options``,
``training``, ``facts``, ``made_of`` and ``version``; all but the plain words are JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import Checkpoint, read, write_tensors
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights, same
from connectivity_hooks.records import Table, typed
from connectivity_hooks.untrusted import guarded, parse_json
from connectivity_hooks.version import __version__
from connectivity_hooks_curves.simplex.complex import Complex, Vertex, require_simplices

FORMAT = "connectivity_hooks.simplex/1"
SUFFIX = ".simplex.safetensors"

MOST = 1000
"""Vertices of a file, and simplices: many times what was ever trained, and few enough to be reckoned with at once."""

_DIMENSION = 100
"""Of a simplex: twice what is trained; volumes take time that grows with its cube."""

_ROUNDING = 1e-6
"""By how much log V may differ when it is computed again: other machines sum in other orders."""

_KEY = re.compile(r"vertex\.(0|[1-9]\d{0,8})/(.+)", re.DOTALL)


def write_complex(found: Complex, file: str | os.PathLike[str], made_of: str = "") -> None:
    """Write a complex in one step: a crash leaves the old file or the new one.

    Args:
        found: What is written.
        file: Where.
        made_of: Digest of everything it depends on, by which an interrupted command knows it again.

    Raises:
        InputError: The file cannot be written.
    """
    with guarded(file, "what a simplex can be written to"):
        metadata = _metadata(found, made_of)
        _described(metadata)
    write_tensors(file, _tensors(found), metadata)


def read_complex(file: str | os.PathLike[str]) -> Complex:
    """Read a simplex file; names, shapes and types are compared before any tensor is read.

    Raises:
        InputError: It is malformed or no simplex file, or what it says of itself is not true of its tensors.
    """
    checkpoint = opened(file)
    with guarded(file, "a valid simplex file", "write it again"):
        described = _described(checkpoint.metadata)
        keys = _keys(checkpoint.outline, described)
        _require_finite(checkpoint, described)
        first = {name: checkpoint.weights[key] for name, key in keys[0].items()}
        weights = (first, *({**first, **{n: checkpoint.weights[k] for n, k in own.items()}} for own in keys[1:]))
        fields = {field.name: getattr(described, field.name) for field in dataclasses.fields(_Described)}
        claimed = fields.pop("log_volume")
        found = Complex(weights=weights, **fields)
        _require_volume(found, -math.inf if claimed is None else claimed)
    return found


def opened(file: str | os.PathLike[str]) -> Checkpoint:
    """Open a simplex file; of what it holds its format alone is compared.

    Raises:
        InputError: There is none.
    """
    checkpoint = read(pathlib.Path(file))
    if checkpoint.metadata.get("format") != FORMAT:
        found = checkpoint.metadata.get("format", "no format")[:60]
        raise InputError(f"{file}: not a simplex file: expected format {FORMAT}, found {found}")
    return checkpoint


@dataclass(frozen=True)
class _Described:
    """What the header says of a complex."""

    vertices: tuple[Vertex, ...]
    simplices: tuple[tuple[int, ...], ...]
    coordinates: tuple[str, ...]
    dtypes: Mapping[str, str]
    log_volume: float | None
    options: Table
    training: Table
    facts: Mapping[str, str]


def _metadata(found: Complex, made_of: str) -> dict[str, str]:
    volume = found.log_volume
    values = {
        "vertices": [dataclasses.asdict(vertex) for vertex in found.vertices],
        "simplices": found.simplices,
        "coordinates": found.coordinates,
        "dtypes": dict(found.dtypes),
        "log_volume": None if math.isinf(volume) else volume,
        "options": dict(found.options),
        "training": dict(found.training),
        "facts": dict(found.facts),
    }
    words = {name: json.dumps(value, allow_nan=False) for name, value in values.items()}
    return {"format": FORMAT, **words, "made_of": made_of, "version": __version__}


def _described(metadata: Mapping[str, str]) -> _Described:
    """Return all that the metadata says, each of its type."""
    names = [field.name for field in dataclasses.fields(_Described)]
    metadata = {"facts": "{}", **metadata}  # which earlier files do not have
    missing = [name for name in names if name not in metadata]
    if missing:
        raise ValueError(f"its header says nothing of {', '.join(missing)}")
    found: _Described = typed(_Described, {name: parse_json(metadata[name]) for name in names})
    if not 2 <= len(found.vertices) <= MOST:
        raise ValueError(f"vertices: expected from 2 to {MOST}, found {len(found.vertices)}")
    if len(found.simplices) > MOST or any(len(simplex) > _DIMENSION + 1 for simplex in found.simplices):
        raise ValueError(f"simplices: expected at most {MOST}, each of at most {_DIMENSION + 1} vertices")
    require_simplices(found.simplices, len(found.vertices))
    if not found.vertices[0].is_checkpoint:
        raise ValueError("vertices: the first is no checkpoint")
    if not found.coordinates or len(set(found.coordinates)) != len(found.coordinates):
        raise ValueError("coordinates: expected one name or more, each once")
    return found


def _tensors(found: Complex) -> Weights:
    first = found.weights[0]
    tensors = {f"vertex.0/{name}": tensor for name, tensor in first.items()}
    for number, vertex in enumerate(found.weights[1:], start=1):
        own = {name: tensor for name, tensor in vertex.items() if not same(tensor, first[name])}
        tensors |= {f"vertex.{number}/{name}": tensor for name, tensor in own.items()}
    return tensors


def _keys(outline: Mapping[str, Tensor], described: _Described) -> list[dict[str, str]]:
    """Return for each vertex the keys of its own tensors by name; compare them all with those of the first."""
    keys: list[dict[str, str]] = [{} for _ in described.vertices]
    for key in outline:
        match = _KEY.fullmatch(key)
        if match is None or int(match[1]) >= len(keys):
            raise ValueError(f"unexpected tensor {key!r}")
        keys[int(match[1])][match[2]] = key
    first = {name: outline[key] for name, key in keys[0].items()}
    for own in keys[1:]:
        for name, key in own.items():
            if name not in first:
                raise ValueError(f"{key!r} is not a tensor of vertex 0")
            here, there = (f"{list(each.shape)} {each.dtype}" for each in (outline[key], first[name]))
            if here != there:
                raise ValueError(f"{key!r}: expected {there} as in vertex 0, found {here}")
    for name in described.coordinates:
        if name not in first or not first[name].is_floating_point():
            raise ValueError(f"coordinates: {name!r} is no floating tensor of vertex 0")
    _require_types(described.dtypes, first)
    return keys


def _require_types(dtypes: Mapping[str, str], first: Mapping[str, Tensor]) -> None:
    """Refuse types that are none, or in which a tensor would lose more than digits."""
    for name, word in dtypes.items():
        dtype = getattr(torch, word, None)
        if name not in first or not isinstance(dtype, torch.dtype):
            raise ValueError(f"dtypes: expected types of tensors of vertex 0, found {word[:20]!r} of {name!r}")
        if not (dtype.is_floating_point and first[name].is_floating_point()):
            raise ValueError(f"dtypes: {name!r} is {first[name].dtype} and would be stored as {word}")


def _require_finite(checkpoint: Checkpoint, described: _Described) -> None:
    for key, count in checkpoint.contents.non_finite.items():
        if key.partition("/")[2] in described.coordinates:
            raise ValueError(f"{key!r} holds {count} NaN or Inf")


def _require_volume(found: Complex, claimed: float) -> None:
    own = found.log_volume
    if own != claimed and not abs(own - claimed) <= _ROUNDING * max(1.0, abs(own)):
        raise ValueError(f"log_volume: it says {claimed!r}, its vertices have {own!r}")
