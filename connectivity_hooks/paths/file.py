"""The path file, ``connectivity_hooks.path/1``: a safetensors file any reader can follow.

Tensors ``point.<i>/<name>`` hold point i; what equals the point before is not stored again. Where only a block of a
tensor changes, ``block.<i>.<k>/<name>`` holds the new values and the int64 tensors ``rows.<i>.<k>/<name>`` and
``cols.<i>.<k>/<name>`` their indices along the first and second axis (absent: all of that axis): point i is point i-1
with whole tensors replaced, then the blocks assigned in the order of k. The header metadata holds ``format``,
``basis``, ``points``, ``positions``, ``guarantees``, ``end_points``, ``alignment``, ``builder``, ``options``,
``version``, ``remarks`` where the builder made some, and ``facts`` where it is known what makes the model's function
beside its own weights; all but the plain words are JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.checkpoints.header import PATH_FORMAT
from connectivity_hooks.checkpoints.reading import read
from connectivity_hooks.checkpoints.writing import write_tensors
from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.basis import POLYLINE, basis_named
from connectivity_hooks.paths.edits import Edit
from connectivity_hooks.paths.path import EndPoint, Path
from connectivity_hooks.records import Table, typed
from connectivity_hooks.untrusted import guarded, parse_json
from connectivity_hooks.version import __version__

FORMAT = PATH_FORMAT

_KEY = re.compile(r"(point|block|rows|cols)\.(0|[1-9]\d{0,8})(?:\.(0|[1-9]\d{0,8}))?/(.+)", re.DOTALL)


def write_path(path: Path, file: str | os.PathLike[str]) -> None:
    """Write `path` to `file` in one step: a crash leaves the old file or the new one.

    Raises:
        InputError: The file cannot be written, or what is to be written could not be read back.
    """
    with guarded(file, "what a path can be written to", "mend the builder or the aligner that made the path"):
        metadata = _metadata(path)
        _described(metadata)
    write_tensors(pathlib.Path(file), tensors_of(path), metadata)


def read_path(file: str | os.PathLike[str]) -> Path:
    """Read a path file.

    Raises:
        InputError: The file is malformed, or not a path file; the message names the first fault.
    """
    checkpoint = read(pathlib.Path(file))
    if checkpoint.metadata.get("format") != FORMAT:
        found = checkpoint.metadata.get("format", "no format")[:60]
        raise InputError(f"{file}: not a path file: expected format {FORMAT}, found {found}")
    with guarded(file, "a valid path file", "write it again"):
        return _path(checkpoint.weights, checkpoint.metadata)


def tensors_of(path: Path) -> Weights:
    """Return the tensors of a path's file by name."""
    tensors = {f"point.0/{name}": tensor for name, tensor in path.start.items()}
    for index, edits in enumerate(path.edits, start=1):
        # In order of name, so that equal paths are equal files, whatever order their weights have in memory; edits of
        # one tensor keep theirs.
        for k, edit in enumerate(sorted(edits, key=lambda edit: edit.name)):
            if edit.whole:
                tensors[f"point.{index}/{edit.name}"] = edit.values
                continue
            tensors[f"block.{index}.{k}/{edit.name}"] = edit.values
            for axis, indices in (("rows", edit.rows), ("cols", edit.cols)):
                if indices is not None:
                    tensors[f"{axis}.{index}.{k}/{edit.name}"] = indices
    return tensors


def _metadata(path: Path) -> dict[str, str]:
    ends = [dataclasses.asdict(end) for end in path.end_points] if path.end_points else None
    return {
        "format": FORMAT,
        "basis": path.basis,
        "points": str(len(path.positions)),
        "positions": json.dumps([float(position) for position in path.positions]),
        "guarantees": json.dumps(path.guarantees),
        "end_points": json.dumps(ends),
        "alignment": json.dumps(path.alignment if path.alignment is None else dict(path.alignment)),
        "builder": path.builder,
        "options": json.dumps(dict(path.options)),
        "version": __version__,
        **({"remarks": json.dumps(dict(path.remarks))} if path.remarks else {}),
        **({"facts": json.dumps(dict(path.facts))} if path.facts else {}),
    }


def _described(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return all that the metadata says of a path, each of its type; the path itself checks how they fit together."""
    positions = typed(Sequence[float], parse_json(metadata["positions"]), "positions")
    if not 2 <= len(positions) <= POLYLINE.most or metadata["points"] != str(len(positions)):
        raise ValueError(
            f"points: expected as many as positions, from 2 to {POLYLINE.most}, "
            f"found {metadata['points'][:20]} and {len(positions)}"
        )
    basis = basis_named(metadata["basis"])
    if len(positions) > basis.most:
        raise ValueError(f"points: a {basis.name} path has at most {basis.most}, found {len(positions)}")
    return {
        "basis": basis.name,
        "positions": positions,
        "guarantees": typed(Sequence[str], parse_json(metadata["guarantees"]), "guarantees"),
        "end_points": _end_points(parse_json(metadata.get("end_points", "null"))),
        "alignment": typed(Table | None, parse_json(metadata.get("alignment", "null")), "alignment"),
        "builder": metadata.get("builder", ""),
        "options": typed(Table, parse_json(metadata.get("options", "{}")), "options"),
        "remarks": typed(Table, parse_json(metadata.get("remarks", "{}")), "remarks"),
        "facts": typed(Mapping[str, str], parse_json(metadata.get("facts", "{}")), "facts"),
    }


def _path(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    described = _described(metadata)
    start, edits = _points(tensors, len(described["positions"]))
    return Path(start=start, edits=edits, **described)


def _points(tensors: Mapping[str, Tensor], count: int) -> tuple[Weights, tuple[tuple[Edit, ...], ...]]:
    start: Weights = {}
    whole: list[list[Edit]] = [[] for _ in range(count)]
    blocks: list[dict[int, list[str]]] = [{} for _ in range(count)]
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or (match[1] == "point") is not (match[3] is None) or int(match[2]) >= count:
            raise ValueError(f"unexpected tensor {key!r}")
        index, name = int(match[2]), match[4]
        if match[1] != "point":
            blocks[index].setdefault(int(match[3]), []).append(key)
        elif index == 0:
            start[name] = tensor
        else:
            whole[index].append(Edit(name, tensor))
    if blocks[0]:
        raise ValueError("point 0 cannot be given by blocks")
    edits = [
        whole[index] + [_block(tensors, index, k, keys) for k, keys in sorted(blocks[index].items())]
        for index in range(1, count)
    ]
    return start, tuple(tuple(_checked(edit, start) for edit in segment) for segment in edits)


def _block(tensors: Mapping[str, Tensor], index: int, k: int, keys: list[str]) -> Edit:
    names = {key.partition("/")[2] for key in keys}
    if len(names) != 1:
        raise ValueError(f"block {index}.{k} is about several tensors")
    name = names.pop()
    parts: dict[str, Tensor | None] = {
        axis: tensors.get(f"{axis}.{index}.{k}/{name}") for axis in ("block", "rows", "cols")
    }
    if parts["block"] is None:
        raise ValueError(f"block {index}.{k} of {name!r} has indices and no values")
    return Edit(name, parts["block"], parts["rows"], parts["cols"])


def _checked(edit: Edit, start: Weights) -> Edit:
    if edit.name not in start:
        raise ValueError(f"{edit.name!r} is not a tensor of point 0")
    tensor = start[edit.name]
    expected = list(tensor.shape)
    for axis, indices in enumerate((edit.rows, edit.cols)):
        if indices is None:
            continue
        if indices.ndim != 1 or indices.dtype != torch.int64 or axis >= tensor.ndim:
            raise ValueError(f"indices of {edit.name!r}: expected int64 along axis {axis}")
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < tensor.shape[axis]):
            raise ValueError(f"indices of {edit.name!r} lie outside axis {axis} of length {tensor.shape[axis]}")
        if len(indices.unique()) != len(indices):
            raise ValueError(f"indices of {edit.name!r} along axis {axis} repeat")
        expected[axis] = len(indices)
    if list(edit.values.shape) != expected or edit.values.dtype != tensor.dtype:
        raise ValueError(
            f"values of {edit.name!r}: expected {expected} {tensor.dtype}, found {list(edit.values.shape)}"
        )
    return edit


def _end_points(records: Any) -> tuple[EndPoint, EndPoint] | None:
    if records is None:
        return None
    with_type = [{"dtype": "", **record} for record in typed(Sequence[Table], records, "end_points")]
    ends: tuple[EndPoint, EndPoint] = typed(tuple[EndPoint, EndPoint], with_type, "end_points")
    return ends
