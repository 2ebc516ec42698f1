"""Features as rows of neurons, whatever their layout."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.layout import Layout, usual

Spatial = Literal["pool", "flatten", "first", "last"]
"""What becomes of positions: their mean, each one's neurons, or of tokens the first or the last."""

SPATIAL = get_args(Spatial)


def neurons_last(
    feature: Tensor, layout: Layout | None = None, *, spatial: str = "pool", tokens: Tensor | None = None
) -> Tensor:
    """Return a feature as (N, neurons), in float32 or wider.

    Args:
        feature: A tensor with an axis of samples and one of neurons or more; the others are positions.
        layout: Which is which; None takes it for (N, n), (N, T, n), (N, n, H, W) or (N, n, D, H, W).
        spatial: ``pool`` takes the mean over positions. ``flatten`` makes every position of every neuron a neuron.
            ``first`` and ``last`` take one token where there is one axis of positions, and the mean of feature maps.
        tokens: (N, T) bool: which tokens are no padding. The mean is then over them alone, ``first`` and ``last`` are
            those of them, and ``flatten`` puts zeros for the others. It is for features of one axis of T positions.

    Raises:
        InputError: The feature has no axis of neurons, or complex numbers.
        UsageError: `spatial` is something else.
    """
    if spatial not in SPATIAL:
        raise UsageError(f"spatial: expected one of {', '.join(SPATIAL)}, found {spatial!r}")
    if feature.ndim < 2:
        raise InputError(f"a feature of shape {tuple(feature.shape)} has no neurons; expected (N, n) or more axes")
    if feature.is_complex():
        raise InputError(f"a feature of type {str(feature.dtype).removeprefix('torch.')}; expected real numbers")
    layout = layout or usual(feature.ndim)
    wide = feature.to(torch.promote_types(feature.dtype, torch.float32))
    positions = layout.positions(wide.ndim)
    ordered = wide.permute(layout.samples, *layout.neurons, *positions)
    rows = ordered.flatten(1, len(layout.neurons)) if len(layout.neurons) > 1 else ordered
    if not positions:
        return rows
    known = _known(rows, tokens)
    if spatial == "flatten":
        whole = wide if known is None else _back(rows, layout, wide, known)
        return whole.movedim(layout.samples, 0).flatten(1)
    if spatial == "pool" or len(positions) > 1:
        return _mean(rows.flatten(2), known)
    return _token(rows, known, last=spatial == "last")


def _known(rows: Tensor, tokens: Tensor | None) -> Tensor | None:
    """Return the mask (N, 1, T) of a feature (N, n, T) that it fits; None where it is for other positions."""
    if tokens is None or rows.ndim != 3 or tuple(tokens.shape) != (rows.shape[0], rows.shape[2]):
        return None
    return tokens.to(rows.device)[:, None, :]


def _back(rows: Tensor, layout: Layout, wide: Tensor, known: Tensor) -> Tensor:
    """Return `wide` with zeros for padding: what a neighbour's length adds is no feature."""
    position = layout.positions(wide.ndim)[0]
    shape = [1] * wide.ndim
    shape[layout.samples], shape[position] = rows.shape[0], rows.shape[2]
    mask = known[:, 0] if layout.samples < position else known[:, 0].T
    return wide.masked_fill(~mask.reshape(shape), 0.0)


def _mean(rows: Tensor, known: Tensor | None) -> Tensor:
    if known is None:
        return rows.mean(2)
    count = known.sum(2).clamp_min(1)  # a sample that is all padding has the feature 0
    return rows.masked_fill(~known, 0.0).sum(2) / count


def _token(rows: Tensor, known: Tensor | None, *, last: bool) -> Tensor:
    if known is None:
        return rows[:, :, -1 if last else 0]
    places = torch.arange(rows.shape[2], device=rows.device).expand(len(rows), -1)
    padding, never = ~known[:, 0], -1 if last else rows.shape[2]
    there = places.masked_fill(padding, never)
    at = (there.amax(1) if last else there.amin(1)).clamp(0, rows.shape[2] - 1)
    return rows.gather(2, at[:, None, None].expand(-1, rows.shape[1], 1)).squeeze(2)
