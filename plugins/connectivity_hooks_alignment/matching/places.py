"""Members of a space, read and written at every step of a descent: without an index where their entries are a run."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.structure import Member


class Place:
    """Where a member's entries are in its weight; the same rows as `Member.matrices`, as views where that can be.

    Most members are a whole axis, or one run of it such as the queries in a fused map: an index there costs a copy each
    way, forwards and backwards.

    Args:
        member: The member.

    Attributes:
        member: The same.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        entries = member.positions.flatten()
        first, self._count = int(entries[0]), len(entries)
        run = torch.arange(first, first + self._count, device=entries.device)
        self._first = first if torch.equal(entries, run) else None

    def rows(self, weight: Tensor) -> Tensor:
        """Return the neurons as rows (K, n, r·m)."""
        if self._first is None:
            return self.member.matrices(weight)
        copies, entries, neurons = self.member.positions.shape
        run = weight.narrow(self.member.axis, self._first, self._count).movedim(self.member.axis, 0)
        if entries == 1:
            return run.reshape(copies, neurons, -1)
        return run.reshape(copies, entries, neurons, -1).transpose(1, 2).flatten(2)

    def replaced(self, weight: Tensor, rows: Tensor) -> Tensor:
        """Return a weight with other rows (K, n, r·m) for the neurons; differentiable in both."""
        if self._first is None:
            return self.member.replaced(weight, rows)
        axis = self.member.axis
        copies, entries, neurons = self.member.positions.shape
        others = [size for number, size in enumerate(weight.shape) if number != axis]
        if entries > 1:
            rows = rows.reshape(copies, neurons, entries, -1).transpose(1, 2)
        run = rows.reshape(self._count, *others).movedim(0, axis)
        if self._count == weight.shape[axis]:
            return run
        return weight.slice_scatter(run, axis, self._first, self._first + self._count)
