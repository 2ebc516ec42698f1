"""Weights with γ and β folded into the maps that read them, and taken out again.

Folding W ← W·γ, γ ← 1 leaves the function as it is; β goes into the biases of the maps, b ← b + W·β, where all of them
have one, and stays a vector of the space, β ← β/γ, where not. Unfolding takes out γ and β of any values, such as those
of another checkpoint: the two then share them, and a straight line between the checkpoints is one between the folded
weights (docs/alignment.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from connectivity_hooks.structure.symmetries.members import Member
from connectivity_hooks.structure.symmetries.scales import Scale
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry

FLOOR = 0.1
"""Of the median |γ|: smaller ones are not divided by, since what reads them would have to grow without bound."""


def unfoldable(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> frozenset[int]:
    """Return the spaces whose β cannot be kept beside γ: γ is zero where β is not, and no bias can take β over."""
    return frozenset(
        symmetry.space
        for symmetry, scale in _scales(symmetries)
        if scale.shift and not scale.biases and _stands_alone(weights[scale.scale] + scale.added, weights[scale.shift])
    )


def _stands_alone(gamma: Tensor, shift: Tensor) -> bool:
    return bool(((gamma == 0) & (shift != 0)).any())


def folded(symmetries: Symmetries, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the same function whose foldable γ are one; tensors that do not change are shared."""
    found = dict(weights)
    fold(symmetries, found)
    return found


def fold(symmetries: Symmetries, weights: dict[str, Tensor]) -> None:
    """Do as `folded`, putting new tensors in the place of those that change, so that these can be freed."""
    for symmetry, scale in _scales(symmetries):
        gamma = _vector(symmetry, scale.scale, weights) + scale.added
        if scale.shift and scale.biases:
            shift = _vector(symmetry, scale.shift, weights)
            _shift_biases(symmetry, scale, weights, shift, 1)
            _put(symmetry, scale.shift, weights, torch.zeros_like(shift))
        elif scale.shift:
            shift = _vector(symmetry, scale.shift, weights)
            _put(symmetry, scale.shift, weights, torch.where(shift == 0, 0, shift / gamma))
        _multiply(symmetry, scale, weights, gamma)
        _put(symmetry, scale.scale, weights, torch.ones_like(gamma) - scale.added)


def unfolded(symmetries: Symmetries, weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return folded weights with the γ and β of `like` taken out; where these γ are next to zero, a floor.

    Differentiable in `weights`.
    """
    found = dict(weights)
    unfold(symmetries, found, like)
    return found


def unfold(symmetries: Symmetries, weights: dict[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Do as `unfolded`, putting new tensors in the place of those that change."""
    for symmetry, scale in _scales(symmetries):
        gamma = with_floor(_vector(symmetry, scale.scale, like).to(weights[scale.scale]) + scale.added)
        _multiply(symmetry, scale, weights, 1 / gamma)
        _put(symmetry, scale.scale, weights, gamma - scale.added)
        if scale.shift and scale.biases:
            shift = _vector(symmetry, scale.shift, like).to(gamma)
            _shift_biases(symmetry, scale, weights, shift, -1)
            _put(symmetry, scale.shift, weights, shift)
        elif scale.shift:
            _put(symmetry, scale.shift, weights, gamma * _vector(symmetry, scale.shift, weights))


def with_floor(gamma: Tensor) -> Tensor:
    """Return γ with its smallest entries, next to zero, as large as `FLOOR` allows; signs stay.

    Where half of the entries are zero, the largest stands for the median, and one where all are.
    """
    sizes = gamma.abs()
    usual = torch.where(sizes.median() > 0, sizes.median(), sizes.max())
    least = FLOOR * torch.where(usual > 0, usual, torch.ones_like(usual))
    return torch.where(gamma.abs() < least, torch.where(gamma < 0, -least, least), gamma)


def _scales(symmetries: Symmetries) -> Iterator[tuple[Symmetry, Scale]]:
    for symmetry in symmetries.symmetries:
        for scale in symmetry.scales:
            yield symmetry, scale


def _changed(symmetry: Symmetry, scale: Scale) -> Iterator[Member]:
    """Yield where the maps are that take the scale over."""
    for name in scale.maps:
        yield next(m for m in symmetry.members if m.weight == name and scale.side in m.roles)


def _member(symmetry: Symmetry, name: str) -> Member:
    return next(member for member in symmetry.members if member.weight == name)


def _vector(symmetry: Symmetry, name: str, weights: Mapping[str, Tensor]) -> Tensor:
    """Return γ or β as rows (K, n, r), of this space's neurons alone."""
    return _member(symmetry, name).matrices(weights[name])


def _put(symmetry: Symmetry, name: str, weights: dict[str, Tensor], rows: Tensor) -> None:
    weights[name] = _member(symmetry, name).replaced(weights[name], rows)


def _multiply(symmetry: Symmetry, scale: Scale, weights: dict[str, Tensor], gamma: Tensor) -> None:
    """Multiply each entry of a neuron by the scale of that entry, or by the neuron's one."""
    for member in _changed(symmetry, scale):
        rows = member.matrices(weights[member.weight])
        entries = rows.unflatten(-1, (member.positions.shape[1], -1)) * gamma[..., None]
        weights[member.weight] = member.replaced(weights[member.weight], entries.flatten(2))


def _shift_biases(symmetry: Symmetry, scale: Scale, weights: dict[str, Tensor], shift: Tensor, sign: int) -> None:
    """Add what the maps make of a shift of their input to their biases."""
    for member, bias in zip(_changed(symmetry, scale), scale.biases, strict=True):
        weight = weights[member.weight]
        along = torch.zeros(weight.shape[member.axis], dtype=weight.dtype, device=weight.device)
        entries = shift.mT.expand(member.positions.shape)
        along = along.index_copy(0, member.positions.flatten().to(weight.device), entries.flatten().to(weight))
        given = torch.tensordot(weight.movedim(member.axis, -1), along, 1)  # (rows, entries of a kernel …)
        weights[bias] = weights[bias] + sign * given.reshape(len(given), -1).sum(1)
