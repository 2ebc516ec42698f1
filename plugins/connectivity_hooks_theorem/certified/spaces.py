"""Which axes are the same neurons: spaces that merge where values are added."""

from __future__ import annotations

from dataclasses import replace

from connectivity_hooks_theorem.certified.network import Space


class Spaces:
    """The spaces found so far; the first is the input's, which stays whole.

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

    def width(self, number: int) -> int:
        """Return how many neurons a space has."""
        return self._spaces[self._root(number)].width

    def unite(self, one: int, other: int) -> bool:
        """Make two spaces one, as values that are added are; return False where one of them is the input's."""
        first, second = sorted((self._root(one), self._root(other)))
        if first == 0:
            return False
        self._parents[second] = first
        return True

    def merged(self, outputs: int) -> tuple[tuple[Space, ...], list[int]]:
        """Return the spaces that are left, that of the outputs whole, and the new number of every old one."""
        roots = [self._root(number) for number in range(len(self._spaces))]
        kept = sorted(set(roots))
        spaces = [self._spaces[root] for root in kept]
        last = kept.index(self._root(outputs))
        spaces[last] = replace(spaces[last], whole=True)
        return tuple(spaces), [kept.index(root) for root in roots]

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            number = self._parents[number]
        return number
