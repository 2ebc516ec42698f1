"""Values at a cut: the features there, of some samples or of all, whole or of some neurons alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure import INPUT, Axis
from connectivity_hooks.tasks import Split
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Neurons

Values: TypeAlias = dict[str, Tensor]
"""Tensors (N, …) by the name of the value: the features at a cut, or the outputs."""


def inputs(split: Split, size: int) -> Iterable[Values]:
    """Yield a split's inputs as the values at cut 0."""
    for x, _ in split.batches(size):
        yield {INPUT: x}


def in_batches(values: Values, size: int) -> Iterable[Values]:
    """Yield values of all samples, `size` samples at a time."""
    count = len(next(iter(values.values())))
    for start in range(0, count, size):
        yield {name: value[start : start + size] for name, value in values.items()}


@torch.no_grad()
def gathered(
    batches: Iterable[Values], count: int, dtype: torch.dtype | None = None, into: Tensor | None = None
) -> Values:
    """Return the values of all `count` samples, rounded to `dtype` if given.

    Memory: the result and one batch. A single value of the shape and type of `into` is written over it; the batches
    may be computed from what is there.
    """
    whole: Values = {}
    first = 0
    for values in batches:
        for name, value in values.items():
            if name not in whole:
                whole[name] = _room(value, count, dtype or value.dtype, into if len(values) == 1 else None)
            whole[name][first : first + len(value)] = value
        first += len(next(iter(values.values())))
    return whole


def _room(value: Tensor, count: int, dtype: torch.dtype, into: Tensor | None) -> Tensor:
    shape = torch.Size((count, *value.shape[1:]))
    if into is not None and (into.shape, into.dtype) == (shape, dtype):
        return into
    return value.new_empty(shape, dtype=dtype)


def restricted(network: Network, values: Values, neurons: Neurons) -> Values:
    """Return the values at a cut with the channels of some neurons alone."""
    return {name: _channels(value, network.axes[name], neurons) for name, value in values.items()}


def _channels(value: Tensor, axis: Axis, neurons: Neurons) -> Tensor:
    entries = axis.entries(neurons[axis.space]).to(value.device)
    return value if len(entries) == value.shape[1] else value.index_select(1, entries)
