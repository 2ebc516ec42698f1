"""The index of a sharded checkpoint: which tensor is in which file, and no file outside its folder."""

from __future__ import annotations

import json
import pathlib

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.errors import InputError

LONGEST_INDEX = 100_000_000


def shards_of(index: pathlib.Path, raw: bytes) -> dict[str, set[str]]:
    """Return shard file name to tensor names.

    Raises:
        InputError: The index is malformed, or names a file that is not a plain file beside it: another folder, an
            absolute path, a symbolic link. Such a file is not opened.
    """
    weight_map = _weight_map(index, raw)
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        shards.setdefault(shard, set()).add(tensor)
    for shard in shards:
        _check_shard(index, shard)
    return shards


def _weight_map(index: pathlib.Path, raw: bytes) -> dict[str, str]:
    try:
        if len(raw) > LONGEST_INDEX:
            raise ValueError("it is too large")
        weight_map = json.loads(raw.decode("utf-8"))["weight_map"]
        if not weight_map or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise ValueError("weight_map does not map tensors to files")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index}: is not an index of shards ({shown(str(error))[:80]}); save it again") from None
    mapping: dict[str, str] = weight_map
    return mapping


def _check_shard(index: pathlib.Path, shard: str) -> None:
    if shard != pathlib.PurePath(shard).name or shard in ("", ".", "..") or "\\" in shard or "\0" in shard:
        raise InputError(f"{index}: names the shard {shown(shard)!r} outside its folder; a shard lies beside its index")
    file = index.parent / shard
    if file.is_symlink():
        raise InputError(
            f"{index}: its shard {shown(shard)} is a symbolic link; copy the folder with its files (cp -rL)"
        )
    if not file.is_file():
        raise InputError(f"{index}: its shard {shown(shard)} is missing; fetch the whole checkpoint")
