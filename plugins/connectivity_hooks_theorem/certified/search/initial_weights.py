"""Where the training of a sub-network begins: fresh weights, or the sub-network of the cut after it."""

from __future__ import annotations

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks_theorem.certified.network.blocks import narrowed
from connectivity_hooks_theorem.certified.network.network import Layer, Network
from connectivity_hooks_theorem.certified.network.running import Values
from connectivity_hooks_theorem.certified.network.sides import Slots
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.neuron_pairs import Head

_PLAIN = {"weight": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0}


def fresh(
    network: Network, like: Weights, cut: int, until: int, slots: Slots, values: Values, generator: torch.Generator
) -> Weights:
    """Return narrow weights of the layers between two cuts, drawn as by He et al. (2015).

    Layers that read the features at `cut` take their scale into account. Without a head of its own the output layer is
    among them.
    """
    weights: Weights = {}
    layers = network.layers_between(cut, until)
    for layer in layers if network.output.step.dense else (*layers, network.output):
        for role, name in layer.step.weights.items():
            shape = _shape(layer, role, like[name], slots)
            if role == "weight" and (layer.cols is not None or len(shape) > 1):
                fan_in = shape[1] * shape[2:].numel()
                drawn = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5 / _scale(layer, values)
                weights[name] = drawn.to(like[name])
            else:
                plain = 0.0 if layer.step.kind == "affine" else _PLAIN[role]
                weights[name] = torch.full(shape, plain).to(like[name])
    return weights


def fresh_head(network: Network, features: int, like: Tensor, bias: bool, generator: torch.Generator) -> Head:
    """Return a small random output layer for that many features."""
    classes = network.classes
    weight = torch.randn(classes, features, generator=generator) / features**0.5
    return Head(weight.to(like), torch.zeros(classes).to(like) if bias else None)


def _shape(layer: Layer, role: str, whole: Tensor, slots: Slots) -> torch.Size:
    rows = len(slots[layer.rows.space]) * layer.rows.spread
    if role != "weight" or layer.cols is None:
        return torch.Size((rows, *whole.shape[1:]))
    return torch.Size((rows, len(slots[layer.cols.space]) * layer.cols.spread, *whole.shape[2:]))


def _scale(layer: Layer, values: Values) -> float:
    """Return the root mean square of the features a layer reads; 1 for a layer that reads none directly."""
    read = [values[name] for name in layer.step.inputs if name in values]
    return float(read[0].square().mean().sqrt().clamp_min(1e-12)) if read else 1.0


def warm(
    network: Network, end: Weights, narrow: Weights, head: Head | None, cut: int, slots: Slots, above: Subnetwork
) -> tuple[Weights, Head | None]:
    """Put the sub-network of a later cut into narrow weights, fed by what is left of the end's own layers.

    The layers between the two cuts compute the features that `above` reads from those kept here, as well as the end's
    own weights can with the columns that are left; the layers after them are those of `above`.
    """
    between, started = network.layers_between(cut, above.cut), dict(narrow)
    blocks = {**above.weights, **narrowed(end, between, above.slots, slots)}
    for layer in network.layers_from(cut):
        for role, name in layer.step.weights.items():
            if name in started:
                reads = role == "weight" and layer.cols is not None
                started[name] = _overlaid(started[name], blocks[name], reads)
    if head is None:
        return started, None
    names = network.output.step.weights
    weight = _overlaid(head.weight, above.weights[names["weight"]].flatten(1), reads=True)
    return started, Head(weight, above.weights[names["bias"]].to(weight) if "bias" in names else None)


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
