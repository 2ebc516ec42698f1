"""What one step of a descent does to the neurons of a space, differentiable in the coordinates of its group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

Part: TypeAlias = Literal["writes", "reads", "beside"]
"""What a weight does: gives the neurons their values, reads them, or goes with them without factors."""


class Move(ABC):
    """What is done to K copies of n neurons; as an `Element`, with gradients."""

    @abstractmethod
    def on_rows(self, rows: Tensor, part: Part) -> Tensor:
        """Return moved rows (K, n, m): g·rows of what writes, g⁻ᵀ·rows of what reads, exchanged rows of the rest."""

    @abstractmethod
    def on_axis(self, weight: Tensor, axis: int, part: Part) -> Tensor:
        """Return a weight whose whole axis is the neurons, of one copy, moved likewise: one operation instead of six.

        With small networks a step costs as much as it has operations.
        """


class Mixing(Move):
    """A matrix g.

    Args:
        matrix: g, (K, n, n).
        dual: g⁻ᵀ; g itself where it is a rotation.
    """

    def __init__(self, matrix: Tensor, dual: Tensor) -> None:
        self._matrices: dict[Part, Tensor] = {"writes": matrix, "reads": dual}
        self._first: dict[Part, Tensor] = {part: each[0] for part, each in self._matrices.items()}

    def on_rows(self, rows: Tensor, part: Part) -> Tensor:
        """Return g·rows or g⁻ᵀ·rows; nothing of a rotated space goes beside it."""
        return rows if part == "beside" else self._matrices[part] @ rows

    def on_axis(self, weight: Tensor, axis: int, part: Part) -> Tensor:
        """Return the weight times the matrix, from the side where the axis is."""
        if part == "beside":
            return weight
        matrix = self._first[part]
        if axis == weight.dim() - 1:
            return weight @ matrix.mT if axis else matrix @ weight
        if axis == 0:
            return (matrix @ weight.flatten(1)).view(weight.shape)
        moved: Tensor = torch.tensordot(weight.movedim(axis, -1), matrix, ([-1], [1]))
        return moved.movedim(-1, axis)


class Exchanging(Move):
    """A permutation with signs and factors.

    Args:
        scores: (K, n, n), which take the gradients of the permutation.
        order: New neuron i is old neuron ``order[i]``, (K, n).
        signs: (K, n); None for no changes of sign.
        factors: (K, n), positive; None for ones.
    """

    def __init__(self, scores: Tensor, order: Tensor, signs: Tensor | None, factors: Tensor | None) -> None:
        self._scores, self._order, self._signs, self._factors = scores, order, signs, factors

    def on_rows(self, rows: Tensor, part: Part) -> Tensor:
        """Return the rows exchanged, and multiplied or divided."""
        signs = None if part == "beside" or self._signs is None else self._signs[..., None]
        moved: Tensor = _RowsExchanged.apply(rows, self._scores, self._order, signs)
        return moved if self._factors is None else _scaled(moved, self._factors[..., None], part)

    def on_axis(self, weight: Tensor, axis: int, part: Part) -> Tensor:
        """Return the weight exchanged along the axis, and multiplied or divided."""
        ones = (1,) * (weight.dim() - 1 - axis)
        signs = None if part == "beside" or self._signs is None else self._signs.view(-1, *ones)
        moved: Tensor = _AxisExchanged.apply(weight, self._scores, self._order, signs, axis)
        return moved if self._factors is None else _scaled(moved, self._factors.view(-1, *ones), part)


def _scaled(moved: Tensor, factors: Tensor, part: Part) -> Tensor:
    if part == "beside":
        return moved
    return moved * factors if part == "writes" else moved / factors


class _RowsExchanged(torch.autograd.Function):
    """Rows exchanged as by a permutation matrix P, whose gradient goes to the scores it was made of.

    Forwards P·rows is an index; backwards the scores get the gradient that a dense P would have (Bengio et al. 2013,
    arXiv 1308.3432; for permutations Peña et al. 2023, arXiv 2212.12042).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scores: Tensor, order: Tensor, signs: Tensor | None) -> Tensor:
        """Return the rows (K, n, m) in their new order, with their signs."""
        ctx.save_for_backward(rows, order, signs)
        moved = torch.take_along_dim(rows, order[..., None], 1)
        return moved if signs is None else moved * signs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of rows and scores."""
        rows, order, signs = ctx.saved_tensors
        (gradient,) = gradients
        of_scores = gradient @ rows.mT if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_scores, None, None
        signed = gradient if signs is None else gradient * signs
        return torch.take_along_dim(signed, torch.argsort(order, -1)[..., None], 1), of_scores, None, None


class _AxisExchanged(torch.autograd.Function):
    """The same along an axis of a weight, of one copy."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, order: Tensor, signs: Tensor | None, axis: int) -> Tensor:
        """Return the weight in its new order, with its signs."""
        ctx.save_for_backward(weight, order, signs)
        ctx.axis = axis
        moved = weight.index_select(axis, order[0])
        return moved if signs is None else moved * signs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Return the gradients of weight and scores."""
        weight, order, signs = ctx.saved_tensors
        (gradient,) = gradients
        of_scores = None
        if ctx.needs_input_grad[1]:
            others = [axis for axis in range(weight.dim()) if axis != ctx.axis]
            of_scores = torch.tensordot(gradient, weight, (others, others))[None]
        if not ctx.needs_input_grad[0]:
            return None, of_scores, None, None, None
        signed = gradient if signs is None else gradient * signs
        return signed.index_select(ctx.axis, torch.argsort(order[0])), of_scores, None, None, None
