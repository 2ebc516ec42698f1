"""Narrow weights: the block of a network's tensors that belongs to some of its neurons."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Axis
from connectivity_hooks_theorem.certified.network.network import Layer, Network
from connectivity_hooks_theorem.certified.network.sides import Neurons


def narrow_blocks(weights: Weights, layers: Iterable[Layer], rows: Neurons, cols: Neurons) -> Weights:
    """Return the blocks of `layers` in `weights`: rows of the neurons in `rows`, columns of those in `cols`."""
    blocks = {}
    for layer in layers:
        own = layer.rows.entries(rows[layer.rows.space])
        for role, name in layer.step.weights.items():
            block = weights[name][own.to(weights[name].device)]
            if role == "weight" and layer.cols is not None:
                block = block[:, layer.cols.entries(cols[layer.cols.space]).to(block.device)]
            blocks[name] = block
    return blocks


def write_blocks(weights: Weights, narrow: Weights, layers: Iterable[Layer], neurons: Neurons) -> None:
    """Write narrow weights into the rows of some neurons, which read no others; tensors are replaced.

    A block with fewer rows or columns than there are neurons takes the first ones.
    """
    for layer in layers:
        for role, name in layer.step.weights.items():
            block = narrow[name].to(weights[name])
            rows = _first(layer.rows, neurons, len(block))
            full = weights[name].clone()
            if role == "weight" and layer.cols is not None:
                full[rows] = 0
                full[rows[:, None], _first(layer.cols, neurons, block.shape[1])[None, :]] = block
            else:
                full[rows] = block
            weights[name] = full


def _first(axis: Axis, neurons: Neurons, entries: int) -> Tensor:
    return axis.entries(neurons[axis.space][: entries // axis.spread])


def clear_unread(weights: Weights, network: Network) -> None:
    """Silence every neuron from which no way leads to an output of the network; tensors are replaced.

    Its weights and bias become 0, its norm that of a neuron that says nothing (mean 0, variance 1, gain 0).
    """
    read = neurons_read(weights, network)
    for layer in network.layers:
        entries = layer.rows.entries((~read[layer.step.name]).nonzero().flatten())
        for role, name in layer.step.weights.items():
            full = weights[name].clone()
            full[entries] = 1 if role == "var" else 0
            weights[name] = full


def neurons_read(weights: Weights, network: Network) -> dict[str, Tensor]:
    """Return for each value a mask of the neurons from which a way of nonzero weights leads to an output."""
    steps, axes = network.program.steps, network.axes
    mixing = {layer.step.name: layer for layer in network.layers if layer.cols is not None}
    read = {name: torch.zeros(network.spaces[axis.space].width, dtype=torch.bool) for name, axis in axes.items()}
    read[steps[-1].name][:] = True
    for step in reversed(steps):
        for name in step.inputs:
            if step.name in mixing:
                axis, weight = axes[name], weights[step.weights["weight"]]
                rows = axes[step.name].entries(read[step.name].nonzero().flatten())
                entries = (weight[rows.to(weight.device)] != 0).transpose(0, 1).flatten(1).any(1)
                read[name] |= entries.view(-1, axis.spread).any(1).cpu()
            else:
                read[name] |= read[step.name]
    return read
