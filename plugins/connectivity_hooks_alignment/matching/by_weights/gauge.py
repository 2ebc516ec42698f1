"""The balanced gauge: among weights of the same function those of least norm, where neurons may be scaled or mixed.

A hidden neuron of a ReLU network may be large in the weights that write it and small in those that read it, or the
other way round; two networks are compared after both were given the same choice. With factors d_j on neuron j, writers
(rows, biases) multiplied and readers divided, Σ (d_j² w_j + r_j / d_j²) is least for d_j = (r_j / w_j)^¼, where w_j
and r_j are the squared norms of what writes and reads it. Where neurons may be mixed, with Gram matrices G_w of the
writers and G_r of the readers, |M W|² + |M⁻ᵀ R|² is least for MᵀM = S with S G_w S = G_r, the geometric mean of
G_w⁻¹ and G_r; M = S^½ is taken. Copies of one function that differ by factors alone have one balanced gauge, those that
differ by a mixture have one up to a rotation, and rotations and permutations are found by products of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Group, Member, Symmetries, Symmetry

SWEEPS = 100
"""Over all spaces, at most: each makes the logarithms of a chain's factors nearer by about a half."""

STILL = 1e-4
"""Of a logarithm of a factor: what changes less is as balanced as matching needs."""

LEAST = 1e-6
"""Eigenvalues of a Gram matrix, relative to their mean, below which a direction counts as unused and is not stretched
without bound."""


def scales_alone(symmetry: Symmetry) -> bool:
    """Say whether neurons may be multiplied by factors, one by one."""
    return Group.SCALE in symmetry.group and Group.MIX not in symmetry.group


def mixes(symmetry: Symmetry) -> bool:
    """Say whether neurons may be mixed by any invertible matrix."""
    return Group.MIX in symmetry.group


def with_factors(symmetry: Symmetry) -> Iterator[tuple[Member, int]]:
    """Yield the members that take part in factors with +1 where they are multiplied and −1 where divided."""
    for member in symmetry.members:
        if member.takes_factors:
            yield member, -1 if member.roles == {"reads"} else 1


def balanced(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[int, Element]:
    """Return what brings folded weights into the balanced gauge, by space; nothing where there is nothing to balance.

    Time: proportional to the number of weights. Memory: squares of the weights that take factors, summed over all
    other axes, in their own type.

    Args:
        symmetries: The network's.
        weights: Folded.
    """
    scaled = [each for each in symmetries.symmetries if scales_alone(each)]
    found = {space: Element(order=_still(f), factors=f) for space, f in _factors(scaled, weights).items()}
    for symmetry in symmetries.symmetries:
        if mixes(symmetry):
            found[symmetry.space] = Element(matrix=_mixture(symmetry, weights))
    return found


def inverse(element: Element) -> Element:
    """Return what takes a balanced gauge back."""
    if element.matrix is not None:
        return Element(matrix=torch.linalg.inv(element.matrix))
    assert element.factors is not None
    return Element(order=element.order, factors=1 / element.factors)


def _still(factors: Tensor) -> Tensor:
    return torch.arange(factors.shape[1]).expand(factors.shape).clone()


def _factors(scaled: list[Symmetry], weights: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return factors (K, n) for each space, found one space at a time until they stay."""
    squares = _squares(scaled, weights)
    found = {each.space: torch.ones(each.copies, each.width, dtype=torch.float64) for each in scaled}
    for _ in range(SWEEPS if scaled else 0):
        largest = 0.0
        for symmetry in scaled:
            step = _step(symmetry, squares)
            for member, power in with_factors(symmetry):
                squares[member.weight] = member.multiplied(squares[member.weight], step ** (2 * power))
            found[symmetry.space] *= step
            largest = max(largest, float(step.log().abs().max()))
        if largest <= STILL:
            break
    return found


def _squares(scaled: list[Symmetry], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return squares of weights, summed over axes that take no factors."""
    axes: dict[str, set[int]] = {}
    for symmetry in scaled:
        for member, _ in with_factors(symmetry):
            axes.setdefault(member.weight, set()).add(member.axis)
    found = {}
    for name, kept in axes.items():
        over = [axis for axis in range(weights[name].dim()) if axis not in kept]
        square = weights[name].square()
        found[name] = square.sum(over, keepdim=True) if over else square
    return found


def _step(symmetry: Symmetry, squares: Mapping[str, Tensor]) -> Tensor:
    """Return (r/w)^¼ (K, n); 1 where a neuron is not written or not read."""
    sums = {power: torch.zeros(symmetry.copies, symmetry.width, dtype=torch.float64) for power in (1, -1)}
    for member, power in with_factors(symmetry):
        square = squares[member.weight]
        along = (
            square.sum([axis for axis in range(square.dim()) if axis != member.axis]) if square.dim() > 1 else square
        )
        sums[power] += along.cpu().double()[member.positions].sum(1)
    both = (sums[1] > 0) & (sums[-1] > 0)
    return torch.where(both, (sums[-1] / sums[1]) ** 0.25, 1.0)


def _mixture(symmetry: Symmetry, weights: Mapping[str, Tensor]) -> Tensor:
    """Return M (K, n, n), symmetric and positive definite; see the module."""
    writers, readers = gram(symmetry, weights, 1), gram(symmetry, weights, -1)
    if not bool(writers.any()) or not bool(readers.any()):
        return torch.eye(symmetry.width, dtype=torch.float64).repeat(symmetry.copies, 1, 1)
    root = _power(_used(writers), 0.5)
    back = torch.linalg.inv(root)
    return _power(back @ _power(root @ _used(readers) @ root, 0.5) @ back, 0.5)


def gram(symmetry: Symmetry, weights: Mapping[str, Tensor], power: int) -> Tensor:
    """Return W·Wᵀ (K, n, n) of the weights that write the neurons, with 1, or read them, with −1; on the CPU."""
    found = torch.zeros(symmetry.copies, symmetry.width, symmetry.width, dtype=torch.float64)
    for member, own in with_factors(symmetry):
        if own == power and "scales" not in member.roles:  # those are folded, all ones
            rows = member.matrices(weights[member.weight]).double()
            found += (rows @ rows.mT).cpu()
    return found


def _used(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    floor = LEAST * values.mean(-1, keepdim=True)
    found: Tensor = (vectors * torch.maximum(values, floor)[:, None]) @ vectors.mT
    return found


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = (vectors * values.clamp_min(0)[:, None] ** exponent) @ vectors.mT
    return found
