"""Reading checkpoints: one pass over the file for tensors and digest, nothing mapped, nothing trusted."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from connectivity_hooks.checkpoints import sharded
from connectivity_hooks.checkpoints.header import Entry, Malformed, read_header, shown
from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import open_regular, require_utf8

INDEX = ".safetensors.index.json"

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Checkpoint:
    """Weights from a file.

    Attributes:
        weights: Tensors by name, on the CPU, in the file's own types.
        metadata: The header's metadata; of a sharded checkpoint that of its first shard.
        sha256: Digest of the file's bytes; of a sharded checkpoint that of the index's bytes followed by each shard's
            hexadecimal digest in the order of the shards' names.
        file: The file that was read.
        notes: What a person should know, such as tensors that were left out.
    """

    weights: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    sha256: str
    file: pathlib.Path
    notes: tuple[str, ...] = ()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a safetensors file, a sharded ``*.safetensors.index.json``, or a folder that holds one of them.

    Memory: the tensors themselves. The file is read, not mapped: a file that is cut short meanwhile is an error, not a
    killed process.

    Raises:
        InputError: There is no such file, or it is malformed, hostile or a pickle; one line says what to do.
    """
    file = _resolve(pathlib.Path(path))
    require_utf8(file)
    if file.name.endswith(INDEX):
        return _read_shards(file)
    weights, metadata, digest = read_file(file)
    return Checkpoint(weights, metadata, digest, file)


def read_file(file: pathlib.Path, only: Collection[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Return tensors, metadata and sha256 of one safetensors file; of the tensors only those named, if any are."""
    _refuse_pickle(file)
    digest = hashlib.sha256()
    weights: dict[str, Tensor] = {}
    try:
        with open_regular(file) as stream:
            header = read_header(stream, os.fstat(stream.fileno()).st_size)
            digest.update(header.raw)
            for entry in header.entries:
                tensor = _read_tensor(stream, entry, digest)
                if only is None or entry.name in only:
                    weights[entry.name] = tensor
    except Malformed as fault:
        raise InputError(f"{file}: {fault}; save it again") from None
    return weights, dict(header.metadata), digest.hexdigest()


def require_finite(checkpoint: Checkpoint) -> None:
    """Raise `InputError` naming the first tensor that holds NaN or Inf."""
    for name, tensor in checkpoint.weights.items():
        if tensor.is_floating_point():
            bad = tensor.numel() - int(torch.isfinite(tensor).sum())
            if bad:
                raise InputError(
                    f"{checkpoint.file}: tensor {shown(name)} holds {bad} NaN or Inf of {tensor.numel()} values; "
                    "use a checkpoint from before the training diverged"
                )


def _read_tensor(stream: BinaryIO, entry: Entry, digest: hashlib._Hash) -> Tensor:
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    if entry.end > entry.begin:
        view = tensor.reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            if stream.readinto(part) != len(part):  # type: ignore[attr-defined]
                raise Malformed(f"was cut short while tensor {shown(entry.name)} was read")
            digest.update(part)
    return tensor


def _read_shards(index: pathlib.Path) -> Checkpoint:
    with open_regular(index) as stream:
        raw = stream.read(sharded.LONGEST_INDEX + 1)
    shards = sharded.shards_of(index, raw)
    weights: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    digest, left_out = hashlib.sha256(raw), 0
    for shard, names in sorted(shards.items()):
        tensors, found, shard_digest = read_file(index.parent / shard)
        missing = sorted(names - tensors.keys())
        if missing:
            raise InputError(f"{index}: {shown(missing[0])} should be in {shard} and is not; save the checkpoint again")
        weights.update({name: tensors[name] for name in tensors if name in names})
        left_out += len(tensors.keys() - names)
        metadata = metadata or found
        digest.update(shard_digest.encode())
    notes = (f"{index.name}: {left_out} tensors in its shards are not named by the index and are left out",)
    return Checkpoint(weights, metadata, digest.hexdigest(), index, notes if left_out else ())


def _resolve(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return path
    single = path / "model.safetensors"
    if single.exists():
        return single
    found = sorted([*path.glob("*" + INDEX)]) or sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(shown(file.name) for file in found[:5]) or "none"
        raise InputError(f"{path}: expected one safetensors checkpoint in this folder, found {names}; name the file")
    return found[0]


def _refuse_pickle(file: pathlib.Path) -> None:
    with open_regular(file) as stream:
        start = stream.read(4)
    if start == b"PK\x03\x04" or start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        target = file.with_suffix(".safetensors").name
        raise InputError(
            f"{file}: is a pickle, which can run code when it is read; make a safetensors file of it with "
            f"connectivity-hooks convert {shown(file.name)} {shown(target)}"
        )
