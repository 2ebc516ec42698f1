"""What one step of a descent does to the neurons of a space, differentiable in the coordinates of its group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class Move(ABC):
    """What is done to K copies of n neurons; as an `Element`, with gradients."""

    @abstractmethod
    def on_writers(self, rows: Tensor) -> Tensor:
        """Return g·rows for rows (K, n, m) that give the neurons their values."""

    @abstractmethod
    def on_readers(self, rows: Tensor) -> Tensor:
        """Return g⁻ᵀ·rows for the columns, as rows (K, n, m), that read the neurons."""

    @abstractmethod
    def on_bystanders(self, rows: Tensor) -> Tensor:
        """Return rows (K, n, m) exchanged as the neurons are, without factors."""


class Mixing(Move):
    """A matrix g.

    Args:
        matrix: g, (K, n, n).
        dual: g⁻ᵀ; g itself where it is a rotation.
    """

    def __init__(self, matrix: Tensor, dual: Tensor) -> None:
        self._matrix, self._dual = matrix, dual

    def on_writers(self, rows: Tensor) -> Tensor:
        """Return g·rows."""
        return self._matrix @ rows

    def on_readers(self, rows: Tensor) -> Tensor:
        """Return g⁻ᵀ·rows."""
        return self._dual @ rows

    def on_bystanders(self, rows: Tensor) -> Tensor:
        """Return the rows: nothing of a rotated space is beside it."""
        return rows


class Exchanging(Move):
    """A permutation with signs and factors.

    Args:
        scores: (K, n, n), which take the gradients of the permutation.
        order: New neuron i is old neuron ``order[i]``, (K, n).
        signs: (K, n); None for no changes of sign.
        factors: (K, n), positive; None for ones.
    """

    def __init__(self, scores: Tensor, order: Tensor, signs: Tensor | None, factors: Tensor | None) -> None:
        self._scores, self._order, self._signs = scores, order, signs
        self._factors = None if factors is None else factors[..., None]

    def on_writers(self, rows: Tensor) -> Tensor:
        """Return the rows, exchanged and multiplied."""
        moved: Tensor = _StraightThrough.apply(rows, self._scores, self._order, self._signs)
        return moved if self._factors is None else moved * self._factors

    def on_readers(self, rows: Tensor) -> Tensor:
        """Return the rows, exchanged and divided."""
        moved: Tensor = _StraightThrough.apply(rows, self._scores, self._order, self._signs)
        return moved if self._factors is None else moved / self._factors

    def on_bystanders(self, rows: Tensor) -> Tensor:
        """Return the rows, exchanged."""
        moved: Tensor = _StraightThrough.apply(rows, self._scores, self._order, None)
        return moved


class _StraightThrough(torch.autograd.Function):
    """Rows exchanged as by a permutation matrix P, whose gradient goes to the scores it was made of.

    Forwards P·rows is an index; backwards the scores get the gradient that a dense P would have (Bengio et al. 2013,
    arXiv 1308.3432; for permutations Peña et al. 2023, arXiv 2212.12042).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scores: Tensor, order: Tensor, signs: Tensor | None) -> Tensor:
        """Return the rows (K, n, m) in their new order, with their signs."""
        ctx.save_for_backward(rows, order, signs)
        moved = torch.take_along_dim(rows, order[..., None], 1)
        return moved if signs is None else moved * signs[..., None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of rows and scores."""
        rows, order, signs = ctx.saved_tensors
        (gradient,) = gradients
        of_scores = gradient @ rows.mT if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_scores, None, None
        signed = gradient if signs is None else gradient * signs[..., None]
        return torch.take_along_dim(signed, torch.argsort(order, -1)[..., None], 1), of_scores, None, None
