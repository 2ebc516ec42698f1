"""Passing values through neurons: the pair σ(z), σ(-z) gives z back, and not for ReLU alone.

σ(z) - σ(-z) = g·z for every z, with g = 1 for ReLU, GELU, SiLU, hard swish and softplus, and g = 1 + slope for leaky
ReLU: their odd part is linear. Whether it holds is found by computing it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Step
from connectivity_hooks_theorem.certified.network.network import Layer, Network
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer

_GRID = torch.linspace(-50.0, 50.0, 4001, dtype=torch.float64)[:, None]
"""Where an activation is tried: from |z| = 40 on, whatever is smooth has reached its limits in float64; and steps of
1/40 find what bends in between."""

_EXACT = 1e-10
"""Largest deviation from g·z relative to the largest z: rounding of float64 with room for a few operations."""

_IDLE = ("identity", "flatten")


def pair_gain(activations: Sequence[Step]) -> float | None:
    """Return g with σ(z) - σ(-z) = g·z for every z, or None where there is no such g; σ applies all in turn."""
    up, down = _GRID, -_GRID
    for step in activations:
        up, down = step.apply([up], {}), step.apply([down], {})
    gain = float((up - down)[-1] / _GRID[-1])
    exact = bool(((up - down) - gain * _GRID).abs().max() <= _EXACT * _GRID[-1])
    return gain if exact and gain != 0 else None


def first_passable(network: Network) -> int:
    """Return the first cut from which outputs can be passed on to the output layer in pairs of neurons."""
    first = len(network.cuts) - 1
    while first > 1 and _passable(network, first - 1):
        first -= 1
    return first


def _passable(network: Network, cut: int) -> bool:
    """Say whether pairs pass from one cut to the next, and the output layer reads single positions."""
    steps = Stretch(network, cut, cut + 1).steps
    single = all(size == 1 for step in steps for size in step.shape[1:])
    known = all(step.kind in ("norm", "activation", *_IDLE) or step.dense or _is_idle(step, network) for step in steps)
    alone = len(network.cuts[cut].values) == 1 and sum(step.kind == "affine" for step in steps) == 1
    return single and known and alone and network.output.step.dense and pair_gain(_activations(steps)) is not None


def _is_idle(step: Step, network: Network) -> bool:
    """Say whether a pool leaves single positions as they are."""
    shapes = {other.name: other.shape for other in network.program.steps}
    before = shapes.get(step.inputs[0], ())
    if step.kind != "pool" or any(size != 1 for size in before[1:]):
        return False
    value = _GRID.reshape(-1, *before[1:], 1).movedim(-1, 1)
    return torch.equal(step.apply([value], {}).flatten(), value.flatten())


def _activations(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.kind == "activation"]


def passed_on(narrow: Weights, output: OutputLayer, rest: Stretch, like: Weights) -> Weights:
    """Return narrow weights whose outputs are those of an output layer, carried on by pairs of neurons.

    Args:
        narrow: Weights of the layers before; kept as they are.
        output: The output layer, on the values where `rest` begins.
        rest: From there to the outputs; not before `first_passable`.
        like: Whole weights, for shapes.
    """
    network, carried, mix = rest.network, dict(narrow), output.weight
    eye = torch.eye(len(mix)).to(mix)
    for cut in range(rest.cut, len(network.cuts) - 1):
        stretch = Stretch(network, cut, cut + 1)
        for layer in stretch.layers:
            carried.update(_norm(layer, len(mix), mix) if layer.cols is None else _pairs(layer, mix, like))
        gain = pair_gain(_activations(stretch.steps))
        mix = torch.cat([eye, -eye], 1) / (gain or 1)
    names = network.output.step.weights
    carried[names["weight"]] = _shaped(mix, like[names["weight"]])
    if "bias" in names:
        carried[names["bias"]] = torch.zeros(len(mix)).to(mix) if output.bias is None else output.bias
    return carried


def _pairs(layer: Layer, mix: Tensor, like: Weights) -> Weights:
    names = layer.step.weights
    pairs = {names["weight"]: _shaped(torch.cat([mix, -mix]), like[names["weight"]])}
    if "bias" in names:
        pairs[names["bias"]] = torch.zeros(2 * len(mix)).to(mix)
    return pairs


def _norm(layer: Layer, classes: int, mix: Tensor) -> Weights:
    """Return the norm that changes nothing."""
    eps = layer.step.eps
    plain = {"mean": 0.0, "var": 1 - eps, "weight": 1.0, "bias": 0.0}
    return {name: mix.new_full((2 * classes,), plain[role]) for role, name in layer.step.weights.items()}


def _shaped(mix: Tensor, like: Tensor) -> Tensor:
    return mix.view(len(mix), -1, *like.shape[2:])
