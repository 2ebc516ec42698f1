"""Features as rows of neurons, whatever their layout."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.layout import Layout, usual

Taken = Literal["mean", "flatten", "first", "last"]
"""What becomes of positions: their mean, each one's neurons, or the first or the last token."""


def neurons_last(
    feature: Tensor, layout: Layout | None = None, *, pool: str = "mean", tokens: Tensor | None = None
) -> Tensor:
    """Return a feature as (N, neurons), in float32 or wider.

    Args:
        feature: A tensor with an axis of samples and one of neurons or more; the others are positions.
        layout: Which is which; None takes it for (N, n), (N, T, n), (N, n, H, W) or (N, n, D, H, W).
        pool: ``mean`` takes the mean over positions. ``flatten`` makes every position of every neuron a neuron.
            ``first`` and ``last`` take one token, of features with one axis of positions.
        tokens: (N, T) bool, or (N, H, W): which positions are no padding. The mean is then over them alone, ``first``
            and ``last`` are those of them, and ``flatten`` puts zeros for the others. A mask of other positions than
            the feature's is not used.

    Raises:
        InputError: The feature has no axis of neurons, complex numbers, or maps of which one token is asked for.
        UsageError: `pool` is something else.
    """
    if pool not in get_args(Taken):
        raise UsageError(f"pool: expected one of {', '.join(get_args(Taken))}, found {pool!r}")
    wide, layout = _checked(feature), layout or usual(feature.ndim)
    rows = positions_behind(wide, layout)
    if rows.ndim == 2:
        return rows
    known = tokens[:, None].to(rows.device) if tokens is not None and fits(tokens, rows) else None
    if pool == "flatten":
        return _flat(wide if known is None else _without_padding(wide, layout, rows, known), layout)
    if pool == "mean":
        return _mean(rows.flatten(2), None if known is None else known.flatten(2))
    if rows.ndim > 3:
        raise InputError(
            f"its output {tuple(feature.shape)} has {rows.ndim - 2} axes of positions, and no {pool} token; take its "
            "mean: pool= (--pool LAYER=mean)"
        )
    return _token(rows, known, last=pool == "last")


def positions_behind(feature: Tensor, layout: Layout) -> Tensor:
    """Return a feature as (N, neurons, …), with its axes of positions behind, in their order."""
    ordered = feature.permute(layout.samples, *layout.neurons, *layout.positions(feature.ndim))
    return ordered.flatten(1, len(layout.neurons)) if len(layout.neurons) > 1 else ordered


def fits(tokens: Tensor, rows: Tensor) -> bool:
    """Say whether a mask (N, …) is of the positions of a feature (N, neurons, …)."""
    return tokens.shape[:1] == rows.shape[:1] and tokens.shape[1:] == rows.shape[2:]


def _checked(feature: Tensor) -> Tensor:
    if feature.ndim < 2:
        raise InputError(f"a feature of shape {tuple(feature.shape)} has no neurons; expected (N, n) or more axes")
    if feature.is_complex():
        raise InputError(f"a feature of type {str(feature.dtype).removeprefix('torch.')}; expected real numbers")
    return feature.to(torch.promote_types(feature.dtype, torch.float32))


def _flat(wide: Tensor, layout: Layout) -> Tensor:
    return wide.movedim(layout.samples, 0).flatten(1)


def _without_padding(wide: Tensor, layout: Layout, rows: Tensor, known: Tensor) -> Tensor:
    """Return `wide` with zeros for padding: what a neighbour's length adds is no feature."""
    order = [layout.samples, *layout.neurons, *layout.positions(wide.ndim)]
    ones = [1] * len(layout.neurons)
    mask = known.reshape(known.shape[0], *ones, *known.shape[2:])
    return wide.masked_fill(~mask.permute([order.index(axis) for axis in range(wide.ndim)]), 0.0)


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
