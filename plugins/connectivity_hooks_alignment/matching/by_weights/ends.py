"""Working copies of both checkpoints, the second as it is moved towards the first, and products of their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Elements, Group, Member, Symmetries, Symmetry, apply, combined, folded

ENTRIES = 2**21
"""Entries of a piece of a weight that is widened to float64 at a time: 16 MB."""

NARROW = 16
"""Entries of a neuron in a weight up to which the weight is put beside others."""

STILL = 1e-6
"""A rotation nearer to none than this, in any entry, does nothing that single precision could tell."""


def working(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return folded working copies of the weights that move, without what LayerNorm does not see.

    In float64 where they are stored so, else in float32: one copy of the model at most, and tensors that nothing is
    done to are shared. Where LayerNorm is all that keeps the ones in a space, the part of a weight that is the same
    for all its neurons changes nothing, and is taken away from the copy: it would only blur the matching.

    Args:
        symmetries: The network's.
        weights: A checkpoint.
    """
    wide = {name: _at_least_single(weights[name]) for name in symmetries.shapes}
    found = folded(symmetries, wide)
    del wide
    for symmetry in symmetries.symmetries:
        if _ones_are_invisible(symmetry):
            for member in symmetry.members:
                if "scales" not in member.roles:
                    rows = member.matrices(found[member.weight])
                    centred = rows - rows.mean(1, keepdim=True)
                    found[member.weight] = member.replaced(found[member.weight], centred).contiguous()
    return {name: found[name] for name in sorted(symmetries.moving)}


def _at_least_single(weight: Tensor) -> Tensor:
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()


def _ones_are_invisible(symmetry: Symmetry) -> bool:
    """Say whether a norm takes the mean over the neurons away, and no shift keeps some of it."""
    if Group.TURN_BESIDE_ONES not in symmetry.group or Group.TURN in symmetry.group:
        return False
    kept = any(scale.shift and not scale.biases for scale in symmetry.scales)
    return not kept and any(cause.startswith("aten.layer_norm") for cause in symmetry.causes)


def inner_product(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: Collection[str]) -> dict[str, float]:
    """Return Σ a·b of each weight."""
    return {name: float((a[name] * b[name]).sum(dtype=torch.float64)) for name in names}


def squared_distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return |a − b|² over all weights of `a`."""
    return sum(float((a[name] - b[name]).square().sum(dtype=torch.float64)) for name in sorted(a))


def add_products(found: Tensor, a: Tensor, b: Tensor, wide: bool = True) -> None:
    """Add A·Bᵀ of rows to a sum in float64, a piece of the rows at a time.

    Args:
        found: The sum (…, n, n), where the rows are.
        a: Rows (…, n, m).
        b: Likewise.
        wide: Whether the products are computed in float64 too; else in the type of the rows, and only added up in it.
    """
    columns = max(1, ENTRIES // a[..., 0].numel())
    for x, y in zip(a.split(columns, -1), b.split(columns, -1), strict=True):
        found += x.double() @ y.double().mT if wide else x @ y.mT


def products_of(
    symmetry: Symmetry, members: Collection[Member], a: Mapping[str, Tensor], b: Mapping[str, Tensor], pairs: bool
) -> Tensor:
    """Return C of a symmetry, summed over some of its members, on the CPU: (K, n, n), or of all pairs (K, K, n, n).

    Narrow weights, such as biases and norms, are put side by side: each alone would cost a matrix of its own.
    """
    copies, width = symmetry.copies, symmetry.width
    device = a[symmetry.members[0].weight].device
    shape = (copies * width, copies * width) if pairs else (copies, width, width)
    found = torch.zeros(shape, dtype=torch.float64, device=device)
    turns = bool(symmetry.group & (Group.TURN | Group.TURN_BESIDE_ONES))
    narrow: list[tuple[Tensor, Tensor]] = []
    for member in members:
        rows = [member.matrices(end[member.weight]) for end in (a, b)]
        first, second = (each.flatten(0, 1) for each in rows) if pairs else rows
        if first.shape[-1] <= NARROW:
            narrow.append((first, second))
        else:
            add_products(found, first, second, turns)
    if narrow:
        first, second = (torch.cat(side, -1) for side in zip(*narrow, strict=True))
        add_products(found, first, second, turns)
    return found.view(copies, width, copies, width).transpose(1, 2).cpu() if pairs else found.cpu()


class Ends:
    """The first checkpoint, the second as it is moved, and what was done to it.

    Args:
        symmetries: The network's.
        a: Working copy of the first; left as it is.
        b: Working copy of the second; its tensors are replaced.

    Attributes:
        elements: What was done to each space.
        rounding: Squared distance that is nothing but rounding.
    """

    def __init__(self, symmetries: Symmetries, a: Mapping[str, Tensor], b: dict[str, Tensor]) -> None:
        self._symmetries, self._a, self._b = symmetries, a, b
        self.elements: dict[int, Element] = {}
        self._inner = inner_product(a, b, a)
        self._norms = sum(sum(inner_product(one, one, one).values()) for one in (a, b))
        double = any(tensor.dtype == torch.float64 for tensor in a.values())
        self.rounding = (1e-12 if double else 1e-7) * self._norms

    def squared_distance(self) -> float:
        """Return |a − b|² of all weights that move; permutations, signs and rotations keep |b|."""
        return self._norms - 2 * sum(self._inner.values())

    def products(self, symmetry: Symmetry, members: Collection[Member], pairs: bool) -> Tensor:
        """Return C of a symmetry, summed over some of its members, see `products_of`."""
        return products_of(symmetry, members, self._a, self._b, pairs)

    def move(self, symmetries: Collection[Symmetry], step: Elements) -> bool:
        """Apply elements in the order given, and say whether any does something."""
        done = {each.space: step[each.space] for each in symmetries if does_something(step.get(each.space))}
        changed = set[str]()
        for symmetry in symmetries:
            if symmetry.space in done:
                apply(symmetry, self._b, done[symmetry.space])
                changed |= {member.weight for member in symmetry.members}
        self._inner |= inner_product(self._a, self._b, changed)
        self.elements = combined(self._symmetries, self.elements, done)
        return bool(done)


def does_something(element: Element | None) -> bool:
    """Say whether an element moves anything that single precision could tell."""
    if element is None:
        return False
    if element.matrix is not None:
        eye = torch.eye(element.matrix.shape[-1], dtype=element.matrix.dtype)
        return bool((element.matrix - eye).abs().max() > STILL)
    assert element.order is not None
    exchanges = bool((element.order != torch.arange(element.order.shape[1])).any())
    return exchanges or (element.factors is not None and bool((element.factors != 1).any()))
