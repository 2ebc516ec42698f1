"""Running part of a network, under narrow weights or whole ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.structure import Step
from connectivity_hooks.structure.program import INPUT, run_step
from connectivity_hooks.structure.spaces import Axis
from connectivity_hooks.tasks.split import Split
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Slots

Values: TypeAlias = dict[str, Tensor]
"""Tensors (N, …) by the name of the value: the features at a cut, or the outputs."""


def run(
    network: Network,
    weights: Mapping[str, Tensor],
    values: Values,
    cut: int,
    until: int | None,
    momentum: float | None = None,
) -> Values:
    """Return the values at cut `until` from those at `cut`.

    Args:
        network: The network.
        weights: Weights of the steps between, narrow or whole.
        values: Values at `cut`.
        cut: Where to begin.
        until: Where to stop; None runs to the outputs.
        momentum: None uses the stored statistics of norms; a share uses each batch's own and moves the stored ones, in
            place, that far towards them.
    """
    steps = network.steps_between(cut, until)
    wanted = (network.program.steps[-1].name,) if until is None else network.cuts[until].values
    last = {name: index for index, step in enumerate(steps) for name in step.inputs}
    now = dict(values)
    for index, step in enumerate(steps):
        if step.kind == "norm" and momentum is not None:
            now[step.name] = _normalised(step, weights, now[step.inputs[0]], momentum)
        else:
            now[step.name] = run_step(step, weights, now)
        for name in step.inputs:
            if last[name] == index and name not in wanted:
                now.pop(name, None)
    return {name: now[name] for name in wanted}


def _normalised(step: Step, weights: Mapping[str, Tensor], value: Tensor, momentum: float) -> Tensor:
    roles = {role: weights[name] for role, name in step.weights.items()}
    affine = roles.get("weight"), roles.get("bias")
    return F.batch_norm(value, roles["mean"], roles["var"], *affine, True, momentum, step.eps)


def run_all(
    network: Network,
    weights: Mapping[str, Tensor],
    batches: Iterable[Values],
    count: int,
    cut: int,
    until: int | None,
    into: Tensor | None = None,
) -> Values:
    """Return what `run` gives for all `count` samples; see `gathered`."""
    return gathered((run(network, weights, values, cut, until) for values in batches), count, into=into)


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


def inputs(split: Split, size: int) -> Iterable[Values]:
    """Yield a split's inputs as the values at cut 0."""
    for x, _ in split.batches(size):
        yield {INPUT: x}


def in_batches(values: Values, size: int) -> Iterable[Values]:
    """Yield values of all samples, `size` samples at a time."""
    count = len(next(iter(values.values())))
    for start in range(0, count, size):
        yield {name: value[start : start + size] for name, value in values.items()}


def restricted(network: Network, values: Values, keep: Slots) -> Values:
    """Return the values at a cut with the channels of the neurons in `keep` alone."""
    return {name: _channels(value, network.axes[name], keep) for name, value in values.items()}


def _channels(value: Tensor, axis: Axis, keep: Slots) -> Tensor:
    entries = axis.entries(keep[axis.space]).to(value.device)
    return value if len(entries) == value.shape[1] else value.index_select(1, entries)
