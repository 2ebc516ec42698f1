"""Spectral norm between two checkpoints: its vectors belong to the weights and have to be computed from them.

``torch.nn.utils.spectral_norm`` and ``parametrizations.spectral_norm`` divide a weight by uᵀWv, with u and v kept as
buffers. Interpolated u and v are no singular vectors of the interpolated W: they may cancel out, and the quotient is
then as large as one likes. Found by name in the weights, so that no model is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.model.weights import Weights
from connectivity_hooks.paths.path import MEASURED, Path

_STEPS = 300
"""Power iterations at most: with singular values 1 % apart the largest is then within 1e-4 of its value."""


@dataclass(frozen=True)
class SpectralNorm:
    """The names of one weight before it is divided, and of its singular vectors; `dim` is the axis of u."""

    weight: str
    u: str
    v: str
    dim: int


def spectral_norms(weights: Mapping[str, Tensor]) -> tuple[SpectralNorm, ...]:
    """Return the spectral norms of a checkpoint.

    Where the shapes leave open which axis of the weight u belongs to, its own u and v decide.
    """
    found = []
    for name in weights:
        for ending, vectors in (("_orig", ("_u", "_v")), (".original", (".0._u", ".0._v"))):
            u, v = (name.removesuffix(ending) + vector for vector in vectors)
            if name.endswith(ending) and u in weights and v in weights:
                dims = _dims(weights[name], weights[u], weights[v])
                found += [SpectralNorm(name, u, v, dim) for dim in dims]
    return tuple(found)


def _dims(weight: Tensor, u: Tensor, v: Tensor) -> list[int]:
    """Return the likeliest axis of u in a list, which is empty where none has its length."""
    fits = [dim for dim in range(weight.ndim) if weight.shape[dim] == len(u) and weight.numel() == len(u) * len(v)]
    size = {dim: abs(float(u.double() @ _matrix(weight, dim).double() @ v.double())) for dim in fits}
    return sorted(fits, key=lambda dim: (-size[dim], dim))[:1]


def _matrix(weight: Tensor, dim: int) -> Tensor:
    return weight.movedim(dim, 0).flatten(1)


def norms_inside(path: Path, t: float, norms: Sequence[SpectralNorm]) -> tuple[SpectralNorm, ...]:
    """Return the spectral norms to recompute at t: none at a knot of the path, which has its own, or where proven."""
    at_a_knot = path.segment(t)[1] == 0
    return () if at_a_knot or path.guarantee_at(t) != MEASURED else tuple(norms)


@torch.no_grad()
def recompute(norms: Sequence[SpectralNorm], weights: Weights) -> None:
    """Write into `weights`, in place, the first singular vectors of each weight, found by power iteration."""
    for norm in norms:
        matrix = _matrix(weights[norm.weight], norm.dim)
        matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
        u, v = _singular_vectors(matrix)
        weights[norm.u].copy_(u)
        weights[norm.v].copy_(v)


def _singular_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    start = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, largest = torch.nn.functional.normalize(start.to(matrix), dim=0), 0.0
    for _ in range(_STEPS):
        u = torch.nn.functional.normalize(matrix @ v, dim=0)
        v = matrix.T @ u
        size = float(v.norm())
        v = torch.nn.functional.normalize(v, dim=0)
        if abs(size - largest) <= torch.finfo(matrix.dtype).eps * size:
            break
        largest = size
    return u, v
