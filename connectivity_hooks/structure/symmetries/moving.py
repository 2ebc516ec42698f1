"""Weights of the same function, with elements of the groups of some spaces applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure.symmetries.elements import Element
from connectivity_hooks.structure.symmetries.folding import fold, unfold
from connectivity_hooks.structure.symmetries.members import Member
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry

Elements: TypeAlias = Mapping[int, Element]
"""For each space that is moved what is done to it. Copies are counted before the space that numbers them is moved."""


def moved(symmetries: Symmetries, weights: Mapping[str, Tensor], elements: Elements) -> dict[str, Tensor]:
    """Return folded weights with elements applied; differentiable in both.

    Args:
        symmetries: The network's.
        weights: Folded, see `folded`; those that are not moved are shared.
        elements: By space, see `Elements`.
    """
    found = dict(weights)
    _apply_all(symmetries, found, elements)
    return symmetries.completed(found)


def transformed(
    symmetries: Symmetries, weights: Mapping[str, Tensor], elements: Elements, like: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return weights of the same function, computed in float64 and in the types they had.

    Args:
        symmetries: The network's.
        weights: Any weights.
        elements: By space, see `Elements`.
        like: Whose γ and β they take over where these had to be folded; None keeps their own.
    """
    found = {name: tensor.double() if name in symmetries.shapes else tensor for name, tensor in weights.items()}
    like = dict(weights) if like is None else like
    fold(symmetries, found)
    _apply_all(symmetries, found, elements)
    unfold(symmetries, found, like)
    for name in weights:  # one by one, so that no more than one copy in float64 is there at a time
        found[name] = found[name].to(weights[name].dtype)
    return symmetries.completed(found)


def _apply_all(symmetries: Symmetries, weights: dict[str, Tensor], elements: Elements) -> None:
    for symmetry in inner_first(symmetries):
        if symmetry.space in elements:
            apply(symmetry, weights, elements[symmetry.space])


def apply(symmetry: Symmetry, weights: dict[str, Tensor], element: Element) -> None:
    """Apply an element to the members of one symmetry, putting new tensors in the place of theirs."""
    for member in symmetry.members:
        weights[member.weight] = _acted(member, element, weights[member.weight])


def _acted(member: Member, element: Element, weight: Tensor) -> Tensor:
    if element.order is not None:
        moved = member.exchanged(weight, element.order)
        if element.factors is None or not member.takes_factors:
            return moved
        return member.multiplied(moved, 1 / element.factors if member.roles == {"reads"} else element.factors)
    if "scales" in member.roles:
        return weight  # folded: all ones
    rows = member.matrices(weight)
    rows = element.on_readers(rows) if member.roles == {"reads"} else element.on_writers(rows)
    return member.replaced(weight, rows).contiguous()


def inner_first(symmetries: Symmetries) -> list[Symmetry]:
    """Return the symmetries, those inside heads before those of the heads."""
    return sorted(symmetries.symmetries, key=lambda each: each.outer is None)


def combined(symmetries: Symmetries, first: Elements, then: Elements) -> dict[int, Element]:
    """Return the elements that do as applying `first` and then `then`."""
    found: dict[int, Element] = {}
    for symmetry in symmetries.symmetries:
        space = symmetry.space
        if space not in then:
            if space in first:
                found[space] = first[space]
            continue
        later = _before_outer(symmetry, then[space], first)
        found[space] = later.after(first[space]) if space in first else later
    return found


def _before_outer(symmetry: Symmetry, element: Element, first: Elements) -> Element:
    """Return an element on copies that were exchanged as one on the copies before."""
    outer = first.get(symmetry.outer) if symmetry.outer is not None else None
    if outer is None or outer.order is None:
        return element
    return element.copies_at(torch.argsort(outer.order[0]))
