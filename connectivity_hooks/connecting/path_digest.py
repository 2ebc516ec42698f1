"""What tells a path from every other."""

from __future__ import annotations

import json

from connectivity_hooks.connecting.subject import tensors_digest
from connectivity_hooks.connecting.work import digest_of
from connectivity_hooks.paths.file import tensors_of
from connectivity_hooks.paths.path import Path


def path_digest(path: Path) -> list[object]:
    """Return what tells a path from others: how its points are joined, their names, and their bytes."""
    tensors = tensors_of(path)
    names = sorted(tensors)
    shapes = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    joined = json.dumps([path.basis, list(path.positions), list(path.guarantees), shapes])
    return [digest_of({"joined": joined}), tensors_digest(tensors[name] for name in names)]
