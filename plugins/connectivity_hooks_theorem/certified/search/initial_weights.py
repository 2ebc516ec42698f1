"""Where the training of a sub-network begins: fresh weights, or the sub-network of the cut after it."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.blocks import narrow_blocks
from connectivity_hooks_theorem.certified.network.network import Layer
from connectivity_hooks_theorem.certified.network.sides import Neurons
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.network.values import Values
from connectivity_hooks_theorem.certified.search.draft import Draft
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer

_PLAIN = {"weight": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0}
"""A norm that changes nothing but ε."""


def fresh_weights(
    stretch: Stretch, like: Weights, neurons: Neurons, values: Values, generator: torch.Generator
) -> Draft:
    """Return layers drawn as by He et al. (2015), and a small random output layer.

    Layers that read the features where the stretch begins take their scale into account.

    Args:
        stretch: The layers.
        like: Whole weights, for shapes and types.
        neurons: Those that the sub-network reads or lives in.
        values: Some features it reads.
        generator: Source of the weights.
    """
    network = stretch.network
    weights: Weights = {}
    for layer in stretch.layers if network.output.step.dense else (*stretch.layers, network.output):
        for role, name in layer.step.weights.items():
            shape = _shape(layer, role, like[name], neurons)
            if role == "weight" and (layer.cols is not None or len(shape) > 1):
                fan_in = shape[1] * shape[2:].numel()
                drawn = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5 / _scale(layer, values)
                weights[name] = drawn.to(like[name])
            else:
                plain = 0.0 if layer.step.kind == "affine" else _PLAIN[role]
                weights[name] = torch.full(shape, plain).to(like[name])
    return Draft(
        weights, _fresh_output_layer(stretch, neurons, values, generator) if network.output.step.dense else None
    )


def _fresh_output_layer(stretch: Stretch, neurons: Neurons, values: Values, generator: torch.Generator) -> OutputLayer:
    network, axes = stretch.network, [stretch.network.axes[value] for value in stretch.values]
    spaces = dict.fromkeys(axis.space for axis in axes)
    features = sum(len(neurons[space]) for space in spaces) * axes[0].spread
    like = next(iter(values.values()))
    weight = torch.randn(network.classes, features, generator=generator) / features**0.5
    bias = torch.zeros(network.classes).to(like) if "bias" in network.output.step.weights else None
    return OutputLayer(weight.to(like), bias)


def _shape(layer: Layer, role: str, whole: Tensor, neurons: Neurons) -> torch.Size:
    rows = len(neurons[layer.rows.space]) * layer.rows.spread
    if role != "weight" or layer.cols is None:
        return torch.Size((rows, *whole.shape[1:]))
    return torch.Size((rows, len(neurons[layer.cols.space]) * layer.cols.spread, *whole.shape[2:]))


def _scale(layer: Layer, values: Values) -> float:
    """Return the root mean square of the features a layer reads; 1 for a layer that reads none directly."""
    read = [values[name] for name in layer.step.inputs if name in values]
    if not read:
        return 1.0
    return float(read[0].square().mean().sqrt().clamp_min(1e-12))  # of dead features alone any scale will do


def warm_weights(draft: Draft, stretch: Stretch, end: Weights, neurons: Neurons, above: Subnetwork) -> Draft:
    """Put the sub-network of a later cut into a draft, fed by what is left of the end's own layers.

    The layers between the two cuts compute the features that `above` reads from those kept here, as well as the end's
    own weights can with the columns that are left; the layers after them are those of `above`.

    Args:
        draft: Fresh weights, which stay where nothing is put.
        stretch: The draft's.
        end: The end's weights.
        neurons: Those that the draft reads or lives in.
        above: The later sub-network.
    """
    network, started = stretch.network, dict(draft.weights)
    between = Stretch(network, stretch.cut, above.cut).layers
    blocks = {**above.weights, **narrow_blocks(end, between, above.neurons, neurons)}
    for layer in stretch.onwards.layers:
        for role, name in layer.step.weights.items():
            if name in started:
                reads = role == "weight" and layer.cols is not None
                started[name] = _overlaid(started[name], blocks[name], reads)
    if draft.output is None:
        return Draft(started, None)
    names = network.output.step.weights
    weight = _overlaid(draft.output.weight, above.weights[names["weight"]].flatten(1), reads=True)
    return Draft(started, OutputLayer(weight, above.weights[names["bias"]].to(weight) if "bias" in names else None))


def _overlaid(fresh_tensor: Tensor, block: Tensor, reads: bool) -> Tensor:
    """Put a block into the leading rows; its neurons read no others than the block's own."""
    tensor, rows = fresh_tensor.clone(), min(len(fresh_tensor), len(block))
    if not reads:
        tensor[:rows] = block[:rows].to(tensor)
        return tensor
    cols = min(tensor.shape[1], block.shape[1])
    tensor[:rows] = 0
    tensor[:rows, :cols] = block[:rows, :cols].to(tensor)
    return tensor
