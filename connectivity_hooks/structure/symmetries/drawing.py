"""Random elements of groups, and random weights to try them on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from connectivity_hooks.structure.symmetries.elements import Element
from connectivity_hooks.structure.symmetries.groups import Group
from connectivity_hooks.structure.symmetries.symmetry import Symmetry

SPREAD = 0.3
"""Of the logarithm of random factors: large enough to be seen, small enough that nothing overflows in deep networks."""

NOISE = 0.3
"""Of random weights, relative to the size of a tensor's own."""

ASLEEP = 0.01
"""Tensors smaller than this, such as the scales of branches in a new network, would hide what is behind them."""


def random_element(symmetry: Symmetry, generator: Generator, group: Group | None = None) -> Element:
    """Draw an element of a symmetry's group, or of another one, in float64."""
    group = symmetry.group if group is None else group
    shape = (symmetry.copies, symmetry.width)
    if Group.MIX in group:
        stretched = random_factors(shape, generator)[..., None] * _rotations(shape, generator)
        return Element(matrix=_rotations(shape, generator) @ stretched)
    if Group.TURN in group:
        return Element(matrix=_rotations(shape, generator))
    if Group.TURN_BESIDE_ONES in group:
        return Element(matrix=_around_ones(shape, generator))
    order = torch.rand(shape, generator=generator).argsort(-1)
    factors = random_factors(shape, generator) if Group.SCALE in group else None
    if Group.FLIP in group:
        signs = 1.0 - 2.0 * torch.randint(2, shape, generator=generator).double()
        factors = signs if factors is None else factors * signs
    return Element(order=order, factors=factors)


def random_factors(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Draw positive factors around one."""
    return torch.exp(SPREAD * torch.randn(shape, generator=generator, dtype=torch.float64))


def _rotations(shape: tuple[int, int], generator: Generator) -> Tensor:
    copies, width = shape
    rotations: Tensor = torch.linalg.qr(torch.randn(copies, width, width, generator=generator, dtype=torch.float64)).Q
    return rotations


def _around_ones(shape: tuple[int, int], generator: Generator) -> Tensor:
    copies, width = shape
    beside = beside_ones(width)
    turned = _rotations((copies, width - 1), generator)
    return beside @ turned @ beside.T + 1 / width


def beside_ones(width: int) -> Tensor:
    """Return an orthonormal basis (n, n − 1), in float64, of what is orthogonal to the vector of ones."""
    first = torch.eye(width, dtype=torch.float64)
    first[:, 0] = 1 / math.sqrt(width)
    basis: Tensor = torch.linalg.qr(first).Q
    return basis[:, 1:]


def random_weights(weights: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """Return weights in float64 that are like those given, but none of them zero or one: nothing hides behind it.

    Infinite entries stay, such as the bounds of a clamp that is off.
    """
    found = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            found[name] = tensor
            continue
        wide = tensor.double().cpu()
        finite = wide[wide.isfinite()]
        size = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
        noise = (NOISE * size if size > ASLEEP else ASLEEP) * torch.randn(
            wide.shape, generator=generator, dtype=torch.float64
        )
        found[name] = wide.abs() + noise.abs() if bool((wide >= 0).all()) and "var" in name else wide + noise
    return found


def some_negated(weights: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """Return weights of which every other tensor, at random, has the opposite sign; none that is nowhere negative."""
    drawn = torch.rand(len(weights), generator=generator).tolist()
    return {
        name: -tensor if chance < 0.5 and tensor.is_floating_point() and bool((tensor < 0).any()) else tensor
        for chance, (name, tensor) in zip(drawn, weights.items(), strict=True)
    }
