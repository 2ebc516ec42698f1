"""Two paths that end at the same weights, as one path from the first's start to the second's."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths.edits import edits_between
from connectivity_hooks.paths.path import Path


def joined(left: Path, right: Path) -> Path:
    """Return the way along `left` to its end and back along `right` to where that starts; guarantees stay true.

    Paths of checkpoints stored in different types are joined in the wider one, which holds both exactly.

    Time and memory: a pass over the points of `right`, two of which are held, and the edits of both.

    Raises:
        InputError: They are no polylines, or do not end at the same weights.
    """
    if not (left.shape.straight and right.shape.straight):
        raise InputError("joining paths: expected polylines")
    left, right = _widened(left, right), _widened(right, left)
    end, other = left.end, right.end
    if end.keys() != other.keys() or not all(same(tensor, other[name]) for name, tensor in end.items()):
        raise InputError("joining paths: they do not end at the same weights")
    back = [edits_between(after, before) for before, after in itertools.pairwise(right.points())]
    outward = [t / 2 for t in left.positions]
    return Path(
        start=left.start,
        edits=(*left.edits, *reversed(back)),
        positions=(*outward, *(1 - t / 2 for t in reversed(right.positions[:-1]))),
        guarantees=(*left.guarantees, *reversed(right.guarantees)),
        end_points=(left.end_points[0], right.end_points[0]) if left.end_points and right.end_points else None,
        builder=left.builder,
        options=left.options,
    )


def _widened(path: Path, other: Path) -> Path:
    """Return a path in types that hold the weights of another as well."""
    types = {
        name: torch.promote_types(tensor.dtype, other.start[name].dtype)
        for name, tensor in path.start.items()
        if name in other.start and tensor.is_floating_point() and other.start[name].is_floating_point()
    }

    def wide(name: str, tensor: Tensor) -> Tensor:
        return tensor.to(types.get(name, tensor.dtype))

    edits = tuple(tuple(replace(edit, values=wide(edit.name, edit.values)) for edit in step) for step in path.edits)
    return replace(path, start={name: wide(name, tensor) for name, tensor in path.start.items()}, edits=edits)
