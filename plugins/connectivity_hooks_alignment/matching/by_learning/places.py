"""Members of a space, read and written at every step of a descent: without an index where their entries are a run."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.structure import Member
from connectivity_hooks_alignment.matching.by_learning.moves import Move, Part


class Place:
    """Where a member's entries are in its weight; the same rows as `Member.matrices`, as views where that can be.

    Most members are a whole axis, or one run of it such as the queries and keys in a fused map, ordered by copy, entry
    and neuron in one way or another. An index there would cost a copy each way, forwards and backwards.

    Args:
        member: The member.
        part: What the weight does there.
        size: Length of its axis.

    Attributes:
        member: The same.
    """

    def __init__(self, member: Member, part: Part, size: int) -> None:
        self.member, self._part = member, part
        self._first, self._count = int(member.positions.min()), member.positions.numel()
        self._order = _order_of_run(member.positions)
        self._is_axis = self._order == (0, 1, 2) and self._count == size == member.positions.shape[2]

    def moved(self, weight: Tensor, move: Move) -> Tensor:
        """Return the weight with its neurons moved."""
        if self._is_axis:
            return move.on_axis(weight, self.member.axis, self._part)
        return self.replaced(weight, move.on_rows(self.rows(weight), self._part))

    def rows(self, weight: Tensor) -> Tensor:
        """Return the neurons as rows (K, n, r·m)."""
        if self._order is None:
            return self.member.matrices(weight)
        copies, _, neurons = shape = self.member.positions.shape
        run = weight.narrow(self.member.axis, self._first, self._count).movedim(self.member.axis, 0)
        if self._order == (0, 1, 2) and shape[1] == 1:
            return run.reshape(copies, neurons, -1)
        grid = run.reshape(*(shape[axis] for axis in self._order), -1)
        return grid.permute(*(self._order.index(axis) for axis in (0, 2, 1)), 3).reshape(copies, neurons, -1)

    def replaced(self, weight: Tensor, rows: Tensor) -> Tensor:
        """Return a weight with other rows (K, n, r·m) for the neurons; differentiable in both."""
        if self._order is None:
            return self.member.replaced(weight, rows)
        axis, (copies, entries, neurons) = self.member.axis, self.member.positions.shape
        if entries > 1 or self._order != (0, 1, 2):
            # The axes of the rows are K, n, r, …; those of the run are K, r, n in its own order.
            places = [(0, 2, 1)[own] for own in self._order]
            rows = rows.reshape(copies, neurons, entries, -1).permute(*places, 3)
        others = [size for number, size in enumerate(weight.shape) if number != axis]
        run = rows.reshape(self._count, *others).movedim(0, axis)
        if self._count == weight.shape[axis]:
            return run
        return weight.slice_scatter(run, axis, self._first, self._first + self._count)


def _order_of_run(positions: Tensor) -> tuple[int, int, int] | None:
    """Return the order of the axes (K, r, n) in which positions follow each other; None where they do in none."""
    first, count = int(positions.min()), positions.numel()
    run = torch.arange(first, first + count)
    orders: list[tuple[int, int, int]] = [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0)]
    return next((order for order in orders if torch.equal(positions.permute(order).flatten(), run)), None)
