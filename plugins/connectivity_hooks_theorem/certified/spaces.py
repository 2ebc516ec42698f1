"""Which axes are the same neurons: spaces that merge where values are added, and coarsen where groups mix channels."""

from __future__ import annotations

import math
from dataclasses import replace

from connectivity_hooks_theorem.certified.network.network import Axis, Space


class Spaces:
    """The spaces found so far; the first is the input's, which stays whole.

    An axis is known here by its entries alone. How many go together is settled at the end: a grouped convolution
    mixes the channels of a group, so that its groups become the neurons of its space.

    Args:
        inputs: Channels of the input.
    """

    def __init__(self, inputs: int) -> None:
        self._spaces = [Space("the input", inputs, whole=True)]
        self._parents = [0]

    def new(self, name: str, width: int) -> int:
        """Add a space and return its number."""
        self._spaces.append(Space(name, width))
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def is_input(self, number: int) -> bool:
        """Say whether a space is the input's."""
        return self._root(number) == 0

    def unite(self, one: int, other: int) -> None:
        """Make two spaces one, as values that are added are."""
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first
        self.coarsen(first, self._spaces[second].width)

    def coarsen(self, number: int, parts: int) -> None:
        """Let neighbouring neurons go together so that none of `parts` equal parts of the space is split."""
        root = self._root(number)
        width = math.gcd(self._spaces[root].width, parts)
        self._spaces[root] = replace(self._spaces[root], width=width)

    def merged(self, outputs: int) -> tuple[tuple[Space, ...], dict[int, int]]:
        """Return the spaces that are left, that of the outputs whole, and the new number of every old one."""
        roots = [self._root(number) for number in range(len(self._spaces))]
        kept = sorted(set(roots))
        spaces = [self._spaces[root] for root in kept]
        last = kept.index(self._root(outputs))
        spaces[last] = replace(spaces[last], whole=True)
        return tuple(spaces), {number: kept.index(root) for number, root in enumerate(roots)}

    def axis(self, number: int, entries: int) -> Axis:
        """Return the axis of `entries` entries that are the neurons of a space, under the space's old number."""
        return Axis(number, entries // self._spaces[self._root(number)].width)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            number = self._parents[number]
        return number
