"""Invertible mixtures inside heads that bring a moved checkpoint nearer to the first one, in the first one's own gauge.

With A₁, B₁ the weights that write the neurons of a head in both checkpoints and A₂, B₂ those that read them, as rows,
|A₁ − M·B₁|² + |A₂ − M⁻ᵀ·B₂|² has no closed solution; it is tried at the mixture found by balancing and at the rotation
nearest to that, and lowered from the better one by L-BFGS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from connectivity_hooks.structure import Element, Symmetries, Symmetry, apply, combined
from connectivity_hooks_alignment.matching.by_weights.ends import add_products
from connectivity_hooks_alignment.matching.by_weights.gauge import mixes, with_factors


def polished(
    symmetries: Symmetries, a: Mapping[str, Tensor], b: dict[str, Tensor], elements: dict[int, Element], steps: int
) -> dict[int, Element]:
    """Return elements with nearer mixtures; `b` is moved on as they say. The distance never grows.

    Args:
        symmetries: The network's.
        a: Working copy of the first checkpoint, in its own gauge.
        b: Working copy of the second, moved by `elements`; its tensors are replaced.
        elements: What was done to it.
        steps: Of L-BFGS for each head, at most.
    """
    for symmetry in symmetries.symmetries:
        if mixes(symmetry):
            now = _as_it_stands(symmetry, elements)
            step = {symmetry.space: Element(matrix=_nearer(Sums.of(symmetry, a, b), now, steps))}
            apply(symmetry, b, step[symmetry.space])
            elements = combined(symmetries, elements, step)
    return elements


def _as_it_stands(symmetry: Symmetry, elements: Mapping[int, Element]) -> Tensor:
    """Return what was done to the copies (K, n, n), in the order in which they are now."""
    element = elements.get(symmetry.space, Element.none(symmetry.copies, symmetry.width))
    outer = elements.get(symmetry.outer) if symmetry.outer is not None else None
    return (element if outer is None or outer.order is None else element.copies_at(outer.order[0])).dense()


@dataclass(frozen=True, eq=False)
class Sums:
    """What the distance depends on: A·Bᵀ and B·Bᵀ of writers and of readers, (K, n, n) each."""

    written: Tensor
    writers: Tensor
    read: Tensor
    readers: Tensor

    @classmethod
    def of(cls, symmetry: Symmetry, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Sums:
        """Gather them from the weights in which a space's neurons are."""
        shape = (4, symmetry.copies, symmetry.width, symmetry.width)
        sums = torch.zeros(shape, dtype=torch.float64, device=a[symmetry.members[0].weight].device)
        for member, power in with_factors(symmetry):
            if "scales" not in member.roles:  # those are folded, all ones
                at = 0 if power == 1 else 2
                first, second = member.matrices(a[member.weight]), member.matrices(b[member.weight])
                add_products(sums[at], first, second)
                add_products(sums[at + 1], second, second)
        return cls(*sums.cpu())

    def distance(self, mixture: Tensor) -> Tensor:
        """Return the squared distance (K,) under M (K, n, n), but for |A₁|² + |A₂|²."""
        back: Tensor = torch.linalg.inv(mixture).mT
        written: Tensor = (mixture @ self.writers - 2 * self.written) * mixture
        read: Tensor = (back @ self.readers - 2 * self.read) * back
        return written.sum((-2, -1)) + read.sum((-2, -1))


def _nearer(sums: Sums, now: Tensor, steps: int) -> Tensor:
    """Return what is to be done on top of what stands (K, n, n)."""
    none = torch.eye(now.shape[-1], dtype=torch.float64).expand(now.shape)
    left, _, right = torch.linalg.svd(now)
    rotated = left @ right @ torch.linalg.inv(now)
    better = sums.distance(rotated) < sums.distance(none)
    start = torch.where(better[:, None, None], rotated, none)
    found = torch.stack([_descended(sums, copy, start[copy], steps) for copy in range(len(now))]) if steps else start
    return torch.where((sums.distance(found) < sums.distance(start))[:, None, None], found, start)


def _descended(sums: Sums, copy: int, start: Tensor, steps: int) -> Tensor:
    c1, g1, c2, g2 = (each[copy].numpy() for each in (sums.written, sums.writers, sums.read, sums.readers))
    shape = start.shape

    def value(entries: Any) -> tuple[float, Any]:
        m = entries.reshape(shape)
        try:
            n = np.linalg.inv(m).T
        except np.linalg.LinAlgError:
            return float("inf"), np.zeros_like(entries)
        first, second = m @ g1 - c1, n @ g2 - c2
        found = ((first - c1) * m).sum() + ((second - c2) * n).sum()
        return found, 2 * (first - n @ second.T @ n).ravel()

    from scipy.optimize import minimize  # as in `assignment`

    found = minimize(value, start.numpy().ravel(), jac=True, method="L-BFGS-B", options={"maxiter": steps})
    moved = torch.from_numpy(found.x.reshape(shape))
    return moved if bool(torch.isfinite(moved).all()) else start
