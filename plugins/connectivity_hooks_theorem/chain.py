"""Chain networks: layer after layer, every operation between two affine maps acting neuron by neuron.

F_0 = X, F_l = σ_l(F_{l-1} W_l + b_l), outputs = F_{L-1} W_L + b_L, with channels as neurons of convolutions. Batch norm
in evaluation mode, pooling, flatten and dropout that is off act channel by channel and belong to σ_l.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Program, Step
from connectivity_hooks.structure.program import INPUT, run_step

INSTEAD = "use --builder linear, whose barrier is measured"


@dataclass(frozen=True)
class Layer:
    """One affine map and the operations between it and the next.

    Attributes:
        affine: The affine map l.
        after: The operations σ_l; empty for the output layer.
        width: Neurons n_l: rows of the affine map's weight.
        spread: Columns of the next weight for each neuron: H·W after a flatten of (C, H, W), else 1.
    """

    affine: Step
    after: tuple[Step, ...]
    width: int
    spread: int

    @property
    def name(self) -> str:
        """Dotted name of the module the affine map's weight belongs to."""
        return self.affine.weights["weight"].rpartition(".")[0] or self.affine.weights["weight"]

    @property
    def weight(self) -> str:
        """Name of the weight, (n_l, n_{l-1}·spread, …)."""
        return self.affine.weights["weight"]

    def vectors(self) -> list[str]:
        """Return the names of every tensor with one entry for each neuron: bias, norm parameters and statistics."""
        own = [name for role, name in self.affine.weights.items() if role != "weight"]
        return own + [name for step in self.after for name in step.weights.values()]

    def activate(self, weights: Mapping[str, Tensor], preactivation: Tensor) -> Tensor:
        """Return σ_l of the affine map's values."""
        values = {self.affine.name: preactivation}
        for step in self.after:
            values[step.name] = run_step(step, weights, values)
        return values[(self.after[-1] if self.after else self.affine).name]


@dataclass(frozen=True)
class Chain:
    """A chain network.

    Attributes:
        before: Channelwise operations on the input, before the first affine map.
        layers: Layers 1 … L; the last is the output layer.
    """

    before: tuple[Step, ...]
    layers: tuple[Layer, ...]

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """Layers 1 … L-1."""
        return self.layers[:-1]

    @property
    def classes(self) -> int:
        """Outputs C."""
        return self.layers[-1].width

    def entry(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return F_0: the input as the first affine map reads it."""
        values = {INPUT: inputs}
        for step in self.before:
            values[step.name] = run_step(step, weights, values)
        return values[self.before[-1].name if self.before else INPUT]

    def forward(self, weights: Mapping[str, Tensor], features: Tensor, first: int, last: int) -> Tensor:
        """Run layers `first` … `last` (counted from 1) on F_{first-1}; the output layer gives outputs."""
        for layer in self.layers[first - 1 : last]:
            features = layer.activate(weights, _affine(layer, weights, features))
        return features

    def columns(self, layer: int, neurons: Tensor) -> Tensor:
        """Return the columns of weight `layer` + 1 that read `neurons` of `layer` (from 1)."""
        spread = self.layers[layer - 1].spread
        return (neurons[:, None] * spread + torch.arange(spread)).flatten()


def read_chain(program: Program, weights: Weights) -> Chain:
    """Read a program as a chain.

    Raises:
        InputError: It is not one; the message names the first obstacle.
    """
    _one_line(program)
    cuts = [index for index, step in enumerate(program.steps) if _opens_layer(step, weights)]
    if len(cuts) < 2:
        raise InputError(f"builder certified: expected two layers of weights or more, found {len(cuts)}; {INSTEAD}")
    before = program.steps[: cuts[0]]
    ends = [*cuts[1:], len(program.steps)]
    layers = [
        _layer(program.steps[cut], program.steps[cut + 1 : end], weights) for cut, end in zip(cuts, ends, strict=True)
    ]
    _check_output(layers[-1])
    _check_widths(layers, weights)
    return Chain(before, tuple(layers))


def _affine(layer: Layer, weights: Mapping[str, Tensor], features: Tensor) -> Tensor:
    return layer.affine.apply([features], {role: weights[name] for role, name in layer.affine.weights.items()})


def _one_line(program: Program) -> None:
    previous = INPUT
    used: set[str] = set()
    for step in program.steps:
        if step.kind == "other":
            raise InputError(f"builder certified: {step.operation} ({step.name}) acts across neurons; {INSTEAD}")
        if step.inputs != (previous,):
            raise InputError(
                f"builder certified: {step.operation} ({step.name}) joins branches, not a chain; {INSTEAD}"
            )
        shared = used & set(step.weights.values())
        if shared:
            raise InputError(f"builder certified: {min(shared)} is used by two layers; {INSTEAD}")
        used.update(step.weights.values())
        previous = step.name


def _opens_layer(step: Step, weights: Weights) -> bool:
    if step.kind != "affine":
        return False
    rows = weights[step.weights["weight"]].shape[0]
    if step.groups not in (1, rows):
        raise InputError(
            f"builder certified: {step.weights['weight']} mixes channels in {step.groups} groups; {INSTEAD}"
        )
    return step.groups == 1 or weights[step.weights["weight"]].shape[1] * step.groups != rows


def _layer(affine: Step, after: Sequence[Step], weights: Weights) -> Layer:
    width = weights[affine.weights["weight"]].shape[0]
    shape = affine.shape
    if len(shape) > 0 and shape[0] != width:
        raise InputError(
            f"builder certified: {affine.weights['weight']} acts along the last of several axes {shape}; {INSTEAD}"
        )
    for step in after:
        for name in step.weights.values():
            if weights[name].shape[:1] != (width,):
                raise InputError(f"builder certified: {name} has {tuple(weights[name].shape)}, expected {width} first")
        if step.kind == "flatten":
            return Layer(affine, tuple(after), width, step.shape[0] // width)
    return Layer(affine, tuple(after), width, 1)


def _check_output(layer: Layer) -> None:
    kinds = {step.kind for step in layer.after} - {"identity", "flatten"}
    if kinds:
        step = next(step for step in layer.after if step.kind in kinds)
        raise InputError(f"builder certified: {step.operation} follows the output layer {layer.weight}; {INSTEAD}")


def _check_widths(layers: Sequence[Layer], weights: Weights) -> None:
    for before, layer in itertools.pairwise(layers):
        columns = weights[layer.weight].shape[1]
        if columns != before.width * before.spread:
            raise InputError(
                f"builder certified: {layer.weight} reads {columns} columns, {before.weight} gives "
                f"{before.width * before.spread}; {INSTEAD}"
            )
