"""The minimum spanning tree: K - 1 edges over which every checkpoint is reached by the lowest barriers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from connectivity_hooks_averaging.graphs.components import root_of


def spanning_tree(count: int, barriers: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Return the edges of a minimum spanning tree, lowest first (Kruskal 1956).

    On its way between any two nodes the largest barrier is the least possible: no other way over any edges has a lower
    one. So of a graph that is cut at a threshold the tree has the same components. What is no finite number comes last.

    Args:
        count: Number of nodes.
        barriers: Of the edges.
    """
    root = list(range(count))
    tree = []
    for a, b in sorted(barriers, key=lambda edge: (_height(barriers[edge]), edge)):
        low, high = sorted((root_of(root, a), root_of(root, b)))
        if low != high:
            root[high] = low
            tree.append((a, b))
    return tree


def _height(barrier: float) -> float:
    return math.inf if math.isnan(barrier) else barrier
