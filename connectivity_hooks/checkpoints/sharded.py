"""The index of a sharded checkpoint: which tensor is in which file, and no file outside its folder.

A hub's cache keeps files under their digests and links to them: ``models--NAME/snapshots/REVISION/FILE`` leads to
``models--NAME/blobs/DIGEST``. Such links are followed, and no others.
"""

from __future__ import annotations

import os
import pathlib

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import guarded, parse_json

LONGEST_INDEX = 100_000_000


def shards_of(index: pathlib.Path, raw: bytes) -> dict[str, set[str]]:
    """Return shard file name to tensor names.

    Raises:
        InputError: The index is malformed, or names a file that is not a plain file beside it: another folder, an
            absolute path, a symbolic link but for those of a hub's cache. Such a file is not opened.
    """
    weight_map = _weight_map(index, raw)
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        shards.setdefault(shard, set()).add(tensor)
    for shard in shards:
        _check_shard(index, shard)
    return shards


def _weight_map(index: pathlib.Path, raw: bytes) -> dict[str, str]:
    with guarded(index, "an index of shards", "save the checkpoint again"):
        if len(raw) > LONGEST_INDEX:
            raise ValueError("it is too large")
        parsed = parse_json(raw.decode("utf-8"))
        mapping = parsed.get("weight_map") if isinstance(parsed, dict) else None
        if (
            not mapping
            or not isinstance(mapping, dict)
            or not all(isinstance(shard, str) for shard in mapping.values())
        ):
            raise ValueError("it has no weight_map from tensors to files")
    return dict(mapping)


def _check_shard(index: pathlib.Path, shard: str) -> None:
    if shard != pathlib.PurePath(shard).name or shard in ("", ".", "..") or "\\" in shard or "\0" in shard:
        raise InputError(f"{index}: names the shard {shown(shard)!r} outside its folder; a shard lies beside its index")
    file = index.parent / shard
    # The system refuses to look for some names, such as one of 400 characters.
    with guarded(index, f"an index of files: {shown(shard)}", "save the checkpoint again"):
        linked, there = file.is_symlink(), file.is_file()
        astray = linked and not leads_to_blob(file)
    if astray:
        raise InputError(
            f"{index}: its shard {shown(shard)} is a symbolic link that leads elsewhere than to blobs/ of "
            "its cache; copy the folder with its files (cp -rL)"
        )
    if not there:
        raise InputError(f"{index}: its shard {shown(shard)} is missing; fetch the whole checkpoint")


def leads_to_blob(link: pathlib.Path) -> bool:
    """Say whether a link of a hub's cache leads to a file of the same repository, itself no link."""
    snapshot = link.parent.resolve()
    repository = snapshot.parent.parent
    if snapshot.parent.name != "snapshots":
        return False
    target = pathlib.Path(os.path.normpath(snapshot / os.readlink(link)))
    return target.parent == repository / "blobs" and not target.is_symlink() and not target.parent.is_symlink()
