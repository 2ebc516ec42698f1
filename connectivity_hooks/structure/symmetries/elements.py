"""Elements of groups: what is done to the neurons of a space, each of its copies by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Element:
    """One element g for each of K copies of n neurons: a matrix, or a permutation with factors.

    The values x (n,) of the neurons become g·x. With a permutation, new neuron i is ``factors[i]`` times old neuron
    ``order[i]``.

    Attributes:
        order: (K, n); None where `matrix` is given.
        factors: (K, n); None for ones.
        matrix: (K, n, n); None where `order` is given.
    """

    order: Tensor | None = None
    factors: Tensor | None = None
    matrix: Tensor | None = None

    @classmethod
    def none(cls, copies: int, width: int) -> Element:
        """Return the element that does nothing."""
        return cls(order=torch.arange(width).expand(copies, width).clone())

    @property
    def is_permutation(self) -> bool:
        """Whether it exchanges neurons and does nothing else."""
        return self.matrix is None and self.factors is None

    def dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return it as matrices (K, n, n)."""
        if self.matrix is not None:
            return self.matrix.to(dtype)
        assert self.order is not None
        eye = torch.eye(self.order.shape[1], dtype=dtype, device=self.order.device)[self.order]
        return eye if self.factors is None else self.factors.to(dtype)[..., None] * eye

    def on_writers(self, rows: Tensor) -> Tensor:
        """Return g·rows for rows (K, n, m) that give the neurons their values."""
        if self.matrix is not None:
            return self.matrix.to(rows) @ rows
        moved = self.on_bystanders(rows)
        return moved if self.factors is None else self.factors.to(rows)[..., None] * moved

    def on_readers(self, rows: Tensor) -> Tensor:
        """Return g⁻ᵀ·rows for the columns, as rows (K, n, m), that read the neurons."""
        if self.matrix is not None:
            solved: Tensor = torch.linalg.solve(self.matrix.to(rows).mT, rows)
            return solved
        moved = self.on_bystanders(rows)
        return moved if self.factors is None else moved / self.factors.to(rows)[..., None]

    def on_bystanders(self, rows: Tensor) -> Tensor:
        """Return rows (K, n, m) exchanged as the neurons are, without factors."""
        if self.order is None:
            return rows
        order = self.order.to(rows.device)
        return torch.take_along_dim(rows, order[..., None], 1)

    def after(self, first: Element) -> Element:
        """Return the element that does `first` and then this one."""
        if self.matrix is not None or first.matrix is not None:
            return Element(matrix=self.dense() @ first.dense())
        assert self.order is not None
        assert first.order is not None
        order = torch.take_along_dim(first.order, self.order, 1)
        if self.factors is None and first.factors is None:
            return Element(order=order)
        ones = torch.ones(order.shape, dtype=torch.float64)
        own = ones if self.factors is None else self.factors
        before = ones if first.factors is None else first.factors
        return Element(order=order, factors=own * torch.take_along_dim(before, self.order, 1))

    def copies_at(self, numbers: Tensor) -> Element:
        """Return the element whose copy i is this one's copy ``numbers[i]``."""
        tensors = (self.order, self.factors, self.matrix)
        order, factors, matrix = (None if tensor is None else tensor[numbers] for tensor in tensors)
        return Element(order, factors, matrix)
