"""Reading a program as a network a certified path can be built for, or naming the first obstacle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Program, Step
from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.cuts import find_cuts
from connectivity_hooks_theorem.certified.network import Axis, Layer, Network
from connectivity_hooks_theorem.certified.spaces import Spaces

INSTEAD = "use --builder linear, whose barrier is measured"

_REASONS = {
    "aten.layer_norm": "normalises over neurons, so that a dead one still counts",
    "aten.group_norm": "normalises over groups of channels, so that a dead one still counts",
    "aten.instance_norm": "computes its statistics from the input",
    "aten.batch_norm": "computes its statistics from the input",
    "aten.scaled_dot_product_attention": "is attention, a softmax over scores that every neuron enters",
    "aten.softmax": "normalises over neurons",
    "aten.log_softmax": "normalises over neurons",
    "aten.mul": "multiplies two values, a gate",
    "aten.cat": "concatenates values",
    "aten.flatten": "merges other axes than channels and space",
    "aten.permute": "moves neurons to another axis",
    "aten.transpose": "moves neurons to another axis",
}
_NEURON_BY_NEURON = ("norm", "activation", "pool", "flatten", "identity")
_LINEAR = ("flatten", "identity")


def obstacle(step: Step, reason: str) -> InputError:
    """Return the error that names a step and why it does not fit."""
    tensor = f" ({next(iter(step.weights.values()))})" if step.weights else ""
    return InputError(f"builder certified: {step.operation}{tensor} {reason}; {INSTEAD}")


def read_network(program: Program, weights: Weights) -> Network:
    """Read a program's spaces and cuts.

    Raises:
        InputError: Neurons are mixed in a way the construction does not know; the message names the first obstacle.
    """
    reader = _Reader(program, weights)
    for step in program.steps:
        reader.read(step)
    return reader.finish()


class _Reader:
    def __init__(self, program: Program, weights: Weights) -> None:
        self._program = program
        self._weights = weights
        self._spaces = Spaces(program.input_shape[0])
        self._axes = {INPUT: Axis(0)}
        self._layers: list[Layer] = []

    def read(self, step: Step) -> None:
        if step.kind == "other":
            raise obstacle(step, _REASONS.get(step.operation, "does not act neuron by neuron"))
        self._refuse_sharing(step)
        axis = self._axes[step.inputs[0]]
        if step.kind == "affine" and not self._is_depthwise(step):
            self._axes[step.name] = self._affine(step, axis)
        elif step.kind == "add":
            self._axes[step.name] = self._sum(step, axis, self._axes[step.inputs[1]])
        else:
            if step.weights:
                self._layers.append(Layer(step, axis, None))
            self._axes[step.name] = self._same(step, axis)

    def finish(self) -> Network:
        mixing = [layer for layer in self._layers if layer.cols is not None]
        if len(mixing) < 2:
            raise InputError(f"builder certified: expected hidden layers and an affine output layer; {INSTEAD}")
        self._check_output(mixing[-1])
        spaces, numbers = self._spaces.merged(mixing[-1].rows.space)
        axes = {name: replace(axis, space=numbers[axis.space]) for name, axis in self._axes.items()}
        layers = tuple(_renumbered(layer, numbers) for layer in self._layers)
        for space in spaces:
            if not space.whole and space.width < 2:
                raise InputError(f"builder certified: {space.name} makes 1 neuron, two sides need 2; {INSTEAD}")
        cuts = find_cuts(self._program.steps, {layer.step.name for layer in mixing})
        output = next(layer for layer in layers if layer.step is mixing[-1].step)
        return Network(self._program, spaces, axes, layers, cuts, output)

    def _affine(self, step: Step, axis: Axis) -> Axis:
        weight = self._weights[step.weights["weight"]]
        if step.groups > 1:
            raise obstacle(step, f"is a convolution of {step.groups} groups that mix channels")
        if weight.ndim == 2 and not step.dense:
            raise obstacle(step, "maps the last of several axes, whose neurons are not channels")
        rows = Axis(self._spaces.new(step.weights["weight"], weight.shape[0]))
        self._layers.append(Layer(step, rows, axis))
        return rows

    def _sum(self, step: Step, one: Axis, other: Axis) -> Axis:
        shapes = {made.name: made.shape for made in self._program.steps} | {INPUT: self._program.input_shape}
        if any(shapes[name] != step.shape for name in step.inputs) or one.spread != other.spread:
            raise obstacle(step, "adds values of different shapes")
        if not self._spaces.unite(one.space, other.space):
            raise obstacle(step, "adds the input itself, whose channels cannot be cut")
        return one

    def _is_depthwise(self, step: Step) -> bool:
        weight = self._weights[step.weights["weight"]]
        return step.groups == weight.shape[0] and weight.shape[1] == 1 and step.groups > 1

    def _same(self, step: Step, axis: Axis) -> Axis:
        if step.kind not in (*_NEURON_BY_NEURON, "affine"):
            raise obstacle(step, "does not act neuron by neuron")
        if step.kind != "flatten":
            return axis
        return Axis(axis.space, math.prod(step.shape) // self._spaces.width(axis.space))

    def _refuse_sharing(self, step: Step) -> None:
        known = {name for layer in self._layers for name in layer.step.weights.values()}
        for name in step.weights.values():
            if name in known:
                raise obstacle(step, f"uses {name} a second time")

    def _check_output(self, output: Layer) -> None:
        for step in _after(self._program.steps, output.step):
            if step.kind not in _LINEAR and not step.settings.get("linear"):
                raise obstacle(step, "follows the output layer, and is not linear")


def _renumbered(layer: Layer, numbers: Sequence[int]) -> Layer:
    cols = None if layer.cols is None else replace(layer.cols, space=numbers[layer.cols.space])
    return Layer(layer.step, replace(layer.rows, space=numbers[layer.rows.space]), cols)


def _after(steps: Sequence[Step], step: Step) -> Sequence[Step]:
    return steps[[other.name for other in steps].index(step.name) + 1 :]
