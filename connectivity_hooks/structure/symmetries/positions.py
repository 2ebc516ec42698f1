"""Which entries of an axis are the neurons of a space, copy by copy."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.structure.layouts import Joined, Layout, Neurons


def positions_in(layout: Layout, space: int, outer: int | None = None) -> Tensor:
    """Return the entries of an axis (K, r, n) that are the neurons of a space, see `members.Member`."""
    number = _numbers(layout, space)
    copy = torch.zeros_like(number) if outer is None else _numbers(layout, outer)
    entries = torch.arange(layout.width)[number >= 0]
    number, copy = number[entries], copy[entries]
    neurons, copies = int(number.max()) + 1, int(copy.max()) + 1
    order = torch.argsort((copy * neurons + number) * layout.width + entries)
    return entries[order].view(copies, neurons, -1).transpose(1, 2).contiguous()


def _numbers(layout: Layout, space: int) -> Tensor:
    """Return for each entry of an axis the number of its neuron in a space, −1 for what is none of it."""
    if isinstance(layout, Neurons):
        return torch.arange(layout.width) if layout.space == space else torch.full((layout.width,), -1)
    if isinstance(layout, Joined):
        return torch.cat([_numbers(part, space) for part in layout.parts])
    found = torch.full((1,), -1)
    for factor in layout.factors:
        found = torch.maximum(found[:, None], _numbers(factor, space)).flatten()
    return found


def occurs_once(layout: Layout, space: int) -> bool:
    """Say whether no entry of an axis is of several neurons of a space at once."""
    if isinstance(layout, Neurons):
        return True
    if isinstance(layout, Joined):
        return all(occurs_once(part, space) for part in layout.parts)
    within = [factor for factor in layout.factors if any(leaf.space == space for leaf in factor.leaves())]
    return len(within) <= 1 and all(occurs_once(factor, space) for factor in within)
