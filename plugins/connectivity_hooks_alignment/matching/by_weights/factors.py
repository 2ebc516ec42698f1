"""Factors of the neurons of a moved checkpoint that bring it nearest to the first one, in the first one's own gauge.

Of neuron j, with a, b the weights that write it in both checkpoints and α, β those that read it, the factor d > 0 that
makes |a − d·b|² + |α − β/d|² least is among the roots of |b|² d⁴ − (a·b) d³ + (α·β) d − |β|² = 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Symmetries, Symmetry, apply, combined
from connectivity_hooks_alignment.matching.by_weights.gauge import scales_alone, with_factors

SWEEPS = 50
"""Over all spaces, at most; neurons of neighbouring layers share a weight."""

STILL = 1e-4
"""Of a logarithm of a factor."""

LARGEST = 100.0
"""Of a factor in one step: a neuron that is next to dead in one of the checkpoints has no nearest factor."""


def refined(
    symmetries: Symmetries, a: Mapping[str, Tensor], b: dict[str, Tensor], elements: dict[int, Element]
) -> dict[int, Element]:
    """Return elements with the nearest factors; `b` is moved on as they say. The distance never grows.

    Args:
        symmetries: The network's.
        a: Working copy of the first checkpoint, in its own gauge.
        b: Working copy of the second, moved by `elements`; its tensors are replaced.
        elements: What was done to it.
    """
    scaled = [each for each in symmetries.symmetries if scales_alone(each)]
    for _ in range(SWEEPS if scaled else 0):
        largest = 0.0
        for symmetry in scaled:
            factors = nearest_factors(*_sums(symmetry, a, b))
            order = torch.arange(symmetry.width).expand(factors.shape).clone()
            step = {symmetry.space: Element(order=order, factors=factors)}
            apply(symmetry, b, step[symmetry.space])
            elements = combined(symmetries, elements, step)
            largest = max(largest, float(factors.log().abs().max()))
        if largest <= STILL:
            break
    return elements


def _sums(symmetry: Symmetry, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return a·b, |b|², α·β and |β|² of each neuron (K, n)."""
    sums = torch.zeros(4, symmetry.copies, symmetry.width, dtype=torch.float64)
    for member, power in with_factors(symmetry):
        first, second = member.matrices(a[member.weight]), member.matrices(b[member.weight])
        at = 0 if power == 1 else 2
        sums[at] += (first * second).sum(-1, dtype=torch.float64).cpu()
        sums[at + 1] += second.square().sum(-1, dtype=torch.float64).cpu()
    return tuple(sums)


def nearest_factors(written: Tensor, writers: Tensor, read: Tensor, readers: Tensor) -> Tensor:
    """Return d > 0 with the least d²·|b|² − 2d·(a·b) + |β|²/d² − 2(α·β)/d, see the module; 1 where nothing is nearer.

    Args:
        written: a·b, (…).
        writers: |b|², (…).
        read: α·β, (…).
        readers: |β|², (…).
    """
    roots = _roots(written, writers, read, readers)
    ones = torch.ones_like(written)[..., None]
    tried = torch.cat([ones, torch.where(roots > 0, roots, 1.0).clamp(1 / LARGEST, LARGEST)], -1)
    terms = [term[..., None] for term in (written, writers, read, readers)]
    values = tried.square() * terms[1] - 2 * tried * terms[0] + terms[3] / tried.square() - 2 * terms[2] / tried
    return torch.take_along_dim(tried, values.argmin(-1, keepdim=True), -1)[..., 0]


def _roots(written: Tensor, writers: Tensor, read: Tensor, readers: Tensor) -> Tensor:
    """Return the real roots (…, 4) of the quartic; 0 for those that are not real, and where it is of lower degree."""
    both = (writers > 0) & (readers > 0)
    size = torch.where(both, readers / writers, 1.0) ** 0.25  # d = size·x: x⁴ − p·x³ + q·x − 1 = 0
    companion = torch.zeros(*written.shape, 4, 4, dtype=torch.float64)
    companion[..., 1, 0] = companion[..., 2, 1] = companion[..., 3, 2] = 1
    companion[..., 0, 3] = 1
    companion[..., 1, 3] = torch.where(both, -read / (writers * size**3), 0.0)
    companion[..., 3, 3] = torch.where(both, written / (writers * size), 0.0)
    values = torch.linalg.eigvals(companion)
    real = values.imag.abs() <= 1e-6 * values.abs()  # double roots come out a little beside the real line
    roots = torch.where(real & both[..., None], values.real * size[..., None], 0.0)
    alone = torch.where(writers > 0, written / writers, torch.where(read > 0, readers / read, 0.0))
    return torch.where(both[..., None], roots, alone[..., None])
