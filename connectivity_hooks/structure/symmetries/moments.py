"""The derivative of the outputs along every generator of every space, from one pass backwards.

Moving the neurons of a space along a generator X, a matrix (n, n), moves weights along X·W where they give the neurons
their values and along −Xᵀ·W where they read them. With G the gradient of ⟨v, outputs⟩, v drawn at random, the
derivative is ⟨Q, X⟩ where Q = Σ G·Wᵀ over the writers − Σ W·Gᵀ over the readers: what a gradient flow would conserve
(Kunin et al. 2021, arXiv 2012.04728). All of GL is in the group where Q is zero, rotations are where Q is symmetric,
those around the vector of ones where it is so beside that vector, factors where its diagonal is zero. That a random v
hides a direction in which the outputs move has probability zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor, nn

from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.model.precision import in_double
from connectivity_hooks.model.running import Forward
from connectivity_hooks.structure.symmetries.groups import Group
from connectivity_hooks.structure.symmetries.members import Member, Role
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry
from connectivity_hooks.structure.untouched import untouched

PROBES = 8
"""Pairs of vectors between which Q is looked at, in place of all n² entries, which for a wide stream would take longer
than the pass backwards. One pair is enough but for bad luck, which eight have not."""

_STATISTICS: frozenset[Role] = frozenset(("means", "variances"))
"""Of batch norm, which PyTorch takes no derivative by; no generator moves them."""

Residuals = Mapping[Group, float]
"""For each kind of move with generators the derivative along them, relative to what the members make of it one by one:
rounding where the outputs stay. Left out where there is no generator, or no member is seen in the outputs."""


def gradients(
    symmetries: Symmetries, model: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs, run: Forward, seed: int
) -> dict[str, Tensor]:
    """Return the gradients of a random combination of the outputs by the weights that symmetries move.

    Args:
        symmetries: The network's.
        model: The module in float64, in evaluation mode; left as it was.
        weights: All of its weights, in float64, folded.
        inputs: Of a few samples, in float64.
        run: How the model is run.
        seed: Of the combination.
    """
    moving = dict.fromkeys(
        member.weight for each in symmetries.symmetries for member in each.members if not member.roles & _STATISTICS
    )
    leaves = {name: weights[name].detach().requires_grad_() for name in moving}
    with untouched(model), in_double(), torch.enable_grad():
        outputs = run.under(model, symmetries.completed({**weights, **leaves}), inputs)
        combination = torch.randn(outputs.shape, generator=Generator().manual_seed(seed), dtype=torch.float64)
        found = torch.autograd.grad(outputs, list(leaves.values()), combination.to(outputs), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def residuals(
    symmetry: Symmetry, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], seed: int
) -> Residuals:
    """Return how far the outputs move along the generators of one space, see `Residuals`."""
    generator = Generator().manual_seed(seed)
    vectors = torch.randn(symmetry.copies, symmetry.width, 2, PROBES, generator=generator, dtype=torch.float64)
    rows = list(_rows(symmetry, weights, gradients, vectors))
    turning = [each for each in rows if "scales" not in each.member.roles]  # folded: γ is one
    factors = [each for each in rows if each.member.takes_factors]
    seen = [each.between() for each in turning]
    beside = [each.between(beside_ones=True) for each in turning]
    found = {
        Group.TURN_BESIDE_ONES: [there - back for there, back in beside],
        Group.TURN: [there - back for there, back in seen],
        Group.MIX: [there for there, _ in seen],
        Group.SCALE: [each.diagonal() for each in factors],
    }
    if symmetry.width < 3:  # two neurons cannot be turned around the vector of ones
        del found[Group.TURN_BESIDE_ONES]
    sizes = {move: _relative(parts) for move, parts in found.items()}
    return {move: size for move, size in sizes.items() if size is not None}


@dataclass(frozen=True)
class _Rows:
    """One member's rows W and the gradient G by them, (K, n, m) each, and r pairs of vectors u, w (K, n, 2, r)."""

    member: Member
    weight: Tensor
    gradient: Tensor
    vectors: Tensor

    @cached_property
    def _products(self) -> list[Tensor]:
        """Wᵀ and Gᵀ times all vectors, and times the vector of ones last: (K, m, 2·r + 1) each."""
        vectors = self.vectors.flatten(2)
        with_ones = torch.cat([vectors, torch.ones_like(vectors[..., :1])], -1)
        return [rows.mT @ with_ones for rows in (self.weight, self.gradient)]

    def between(self, beside_ones: bool = False) -> Tensor:
        """Return what the member adds to uᵀ·Q·w and to wᵀ·Q·u, (2, K, r), for u and w as they are, or beside ones."""
        weight, gradient = (product[..., :-1] for product in self._products)
        if beside_ones:
            means = self.vectors.flatten(2).mean(1, keepdim=True)
            weight, gradient = (product[..., :-1] - product[..., -1:] * means for product in self._products)
        first, second = (-weight, gradient) if self.member.roles == {"reads"} else (gradient, weight)
        first, second = (each.unflatten(2, self.vectors.shape[2:]) for each in (first, second))
        found: Tensor = (first * second.flip(2)).sum(1).transpose(0, 1)
        return found

    def diagonal(self) -> Tensor:
        """Return what the member adds to the diagonal of Q, (K, n)."""
        found = (self.weight * self.gradient).sum(-1)
        return -found if self.member.roles == {"reads"} else found


def _rows(
    symmetry: Symmetry, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], vectors: Tensor
) -> Iterator[_Rows]:
    for member in symmetry.members:
        if not member.roles & _STATISTICS:
            weight, gradient = (member.matrices(each[member.weight]) for each in (weights, gradients))
            yield _Rows(member, weight, gradient, vectors)


def _relative(parts: list[Tensor]) -> float | None:
    """Return the size of a sum relative to the sum of its parts' sizes; None where these are zero, or not finite."""
    whole = sum(float(part.norm()) for part in parts)
    return float(torch.stack(parts).sum(0).norm()) / whole if 0 < whole < math.inf else None
