"""Connected components: what can be reached from one another over edges without a barrier."""

from __future__ import annotations

from collections.abc import Iterable


def components(count: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected components of a graph of `count` nodes, the largest first, then by their first node."""
    root = list(range(count))
    for a, b in edges:
        low, high = sorted((root_of(root, a), root_of(root, b)))
        root[high] = low
    groups: dict[int, list[int]] = {}
    for node in range(count):
        groups.setdefault(root_of(root, node), []).append(node)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def root_of(root: list[int], node: int) -> int:
    """Return the first node of the component of a node, in a list of nodes that lead there."""
    while root[node] != node:
        root[node] = root[root[node]]  # half of the way, for the next time
        node = root[node]
    return node
