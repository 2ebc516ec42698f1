"""Two paths that end at the same weights, as one path from the first's start to the second's."""

from __future__ import annotations

import itertools

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths.edits import edits_between
from connectivity_hooks.paths.path import Path


def joined(left: Path, right: Path) -> Path:
    """Return the way along `left` to its end and back along `right` to where that starts; guarantees stay true.

    Time and memory: a pass over the points of `right`, two of which are held, and the edits of both.

    Raises:
        InputError: They are no polylines, or do not end at the same weights.
    """
    if not (left.shape.straight and right.shape.straight):
        raise InputError("joining paths: expected polylines")
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
