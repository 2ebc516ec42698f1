"""What was done to each space, in words that stay small however wide the network is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Symmetries, Symmetry
from connectivity_hooks_alignment.matching.by_weights.ends import does_something

UNMOVED = 1e-6
"""A factor or an entry of a rotation nearer to none than this is rounding."""


def done(symmetries: Symmetries, elements: Mapping[int, Element]) -> dict[str, object]:
    """Return what an alignment's record says of its elements, JSON-ready: of how many spaces, and of each in words."""
    names = [each.space for each in symmetries.symmetries]
    moved = sum(does_something(elements.get(space)) for space in names)
    return {"moved": {"spaces": moved, "of": len(names)}, "spaces": said(symmetries, elements)}


def said(symmetries: Symmetries, elements: Mapping[int, Element]) -> dict[str, str]:
    """Return for each space, by name, its group and what was done, as "Mon₊: 120 of 128 moved, factors 0.7 to 1.4"."""
    found: dict[str, str] = {}
    for symmetry in symmetries.symmetries:
        element = elements.get(symmetry.space)
        done = "nothing" if element is None else done_by(element)
        found[_free_name(symmetry, found)] = f"{symmetry.title}: {done}"
    return found


def _free_name(symmetry: Symmetry, taken: Mapping[str, str]) -> str:
    """Return a space's name; with its number where heads and what is inside them are named alike."""
    return f"{symmetry.name} ({symmetry.space})" if symmetry.name in taken else symmetry.name


def done_by(element: Element) -> str:
    """Say what an element does: neurons moved, range of factors, mean angle of rotation, range of stretching."""
    if element.matrix is not None:
        return _turned(element.matrix)
    assert element.order is not None
    moved = int((element.order != torch.arange(element.order.shape[1])).sum())
    words = [f"{moved} of {element.order.numel()} moved"]
    if element.factors is not None:
        flipped, sizes = int((element.factors < 0).sum()), element.factors.abs()
        words += [f"{flipped} with the other sign"] if flipped else []
        if bool(((sizes - 1).abs() > UNMOVED).any()):
            words.append(f"factors {_range(sizes)}")
    return ", ".join(words)


def _turned(matrix: Tensor) -> str:
    left, sizes, right = torch.linalg.svd(matrix)
    cosines = (left @ right).diagonal(dim1=-2, dim2=-1).mean(-1).clamp(-1, 1)
    words = [f"rotated by {math.degrees(float(cosines.acos().mean())):.0f}° in the mean"]
    if bool(((sizes - 1).abs() > UNMOVED).any()):
        words.append(f"stretched by {_range(sizes)}")
    return ", ".join(words)


def _range(sizes: Tensor) -> str:
    return f"{float(sizes.min()):.2g} to {float(sizes.max()):.2g}"
