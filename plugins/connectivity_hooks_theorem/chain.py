"""Chain networks: layer after layer, every operation between two affine maps acting neuron by neuron.

F_0 = X, F_l = relu(F_{l-1} W_lᵀ + b_l), outputs = F_{L-1} W_Lᵀ + b_L (theorem of arXiv 2102.09671, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Program, Step

INSTEAD = "use --builder linear, whose barrier is measured"


@dataclass(frozen=True)
class Layer:
    """One affine map: names of its weight (n_l, n_{l-1}) and bias (n_l,)."""

    weight: str
    bias: str
    width: int


@dataclass(frozen=True)
class Chain:
    """A fully connected chain with ReLU.

    Attributes:
        layers: Layers 1 … L; the last is the output layer.
    """

    layers: tuple[Layer, ...]

    @property
    def depth(self) -> int:
        """Hidden layers, L-1."""
        return len(self.layers) - 1

    @property
    def classes(self) -> int:
        """Outputs C."""
        return self.layers[-1].width

    def layer(self, index: int) -> Layer:
        """Return layer `index`, counted from 1."""
        return self.layers[index - 1]

    def step(self, weights: Mapping[str, Tensor], features: Tensor, index: int) -> Tensor:
        """Return F_index from F_{index-1}."""
        layer = self.layer(index)
        return (features @ weights[layer.weight].T + weights[layer.bias]).relu_()


def read_chain(program: Program, weights: Weights) -> Chain:
    """Read a program as a fully connected chain with ReLU.

    Raises:
        InputError: It is not one; the message names the first obstacle.
    """
    layers: list[Layer] = []
    previous, activated = "input", True
    for step in program.steps:
        if step.inputs != (previous,):
            raise _obstacle(step, "joins branches")
        if step.kind == "affine":
            if not activated:
                raise _obstacle(step, "follows another affine map without a ReLU between")
            layers.append(_layer(step, weights, layers))
            activated = False
        elif step.operation == "aten.relu" and layers:
            activated = True
        elif step.kind != "identity" and not (step.kind == "flatten" and not layers):
            raise _obstacle(step, "is not a fully connected layer with ReLU")
        previous = step.name
    if activated or len(layers) < 2:
        raise InputError(f"builder certified: expected hidden layers with ReLU and an affine output layer; {INSTEAD}")
    return Chain(tuple(layers))


def _layer(step: Step, weights: Weights, before: list[Layer]) -> Layer:
    names = step.weights
    if weights[names["weight"]].ndim != 2 or "bias" not in names:
        raise _obstacle(step, "is not a fully connected layer with a bias")
    if any(names["weight"] == layer.weight for layer in before):
        raise _obstacle(step, f"uses {names['weight']} a second time")
    return Layer(names["weight"], names["bias"], weights[names["weight"]].shape[0])


def _obstacle(step: Step, reason: str) -> InputError:
    tensor = f" ({step.weights['weight']})" if "weight" in step.weights else ""
    return InputError(f"builder certified: {step.operation}{tensor} {reason}; {INSTEAD}")
