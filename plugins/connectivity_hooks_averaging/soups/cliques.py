"""Sets of checkpoints in which every two are connected."""

from __future__ import annotations

from collections.abc import Sequence


def mutually_connected(barriers: Sequence[Sequence[float]], threshold: float) -> list[int]:
    """Return the largest set of nodes found in which no two have a barrier above the threshold, in order.

    One set is grown from each node, by whichever node fits all that are in it, in order; the largest of them is
    returned, of equally large ones that with the lowest largest barrier, then the one that was found first. To find the
    largest of all possible sets takes time that grows exponentially.

    Args:
        barriers: Of every two nodes, symmetric; what is not a number connects nothing.
        threshold: The largest barrier that connects.
    """
    count = len(barriers)
    grown = [_grown(start, barriers, threshold) for start in range(count)]
    return min(grown, key=lambda group: (-len(group), _largest(group, barriers)))


def _grown(start: int, barriers: Sequence[Sequence[float]], threshold: float) -> list[int]:
    group = [start]
    for node in range(len(barriers)):
        if node != start and all(barriers[node][member] <= threshold for member in group):
            group.append(node)
    return sorted(group)


def _largest(group: Sequence[int], barriers: Sequence[Sequence[float]]) -> float:
    return max((barriers[a][b] for a in group for b in group if a != b), default=0.0)
