"""Reading a program as a network a certified path can be built for, or naming the first obstacle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Program, Step
from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.cuts import find_cuts
from connectivity_hooks_theorem.certified.network import Axis, Layer, Network, Space

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
        self._spaces = [Space("the input", program.input_shape[0], whole=True)]
        self._axes = {INPUT: Axis(0)}
        self._layers: list[Layer] = []
        self._latest = INPUT

    def read(self, step: Step) -> None:
        if step.kind == "other":
            raise obstacle(step, _REASONS.get(step.operation, "does not act neuron by neuron"))
        if step.inputs != (self._latest,):
            raise obstacle(step, "joins branches")
        self._refuse_sharing(step)
        axis = self._axes[step.inputs[0]]
        if step.kind == "affine" and not self._is_depthwise(step):
            self._axes[step.name] = self._affine(step, axis)
        else:
            if step.weights:
                self._layers.append(Layer(step, axis, None))
            self._axes[step.name] = self._same(step, axis)
        self._latest = step.name

    def finish(self) -> Network:
        mixing = [layer for layer in self._layers if layer.cols is not None]
        if len(mixing) < 2:
            raise InputError(f"builder certified: expected hidden layers and an affine output layer; {INSTEAD}")
        output = mixing[-1]
        self._check_output(output)
        spaces = list(self._spaces)
        spaces[output.rows.space] = Space(output.step.weights["weight"], spaces[output.rows.space].width, whole=True)
        for space in spaces:
            if not space.whole and space.width < 2:
                raise InputError(f"builder certified: {space.name} makes 1 neuron, two sides need 2; {INSTEAD}")
        steps = self._program.steps
        cuts = find_cuts(steps, {layer.step.name for layer in mixing})
        return Network(self._program, tuple(spaces), dict(self._axes), tuple(self._layers), cuts, output)

    def _affine(self, step: Step, axis: Axis) -> Axis:
        weight = self._weights[step.weights["weight"]]
        if step.groups > 1:
            raise obstacle(step, f"is a convolution of {step.groups} groups that mix channels")
        if weight.ndim == 2 and not step.dense:
            raise obstacle(step, "maps the last of several axes, whose neurons are not channels")
        rows = Axis(len(self._spaces))
        self._spaces.append(Space(step.weights["weight"], weight.shape[0]))
        self._layers.append(Layer(step, rows, axis))
        return rows

    def _is_depthwise(self, step: Step) -> bool:
        weight = self._weights[step.weights["weight"]]
        return step.groups == weight.shape[0] and weight.shape[1] == 1 and step.groups > 1

    def _same(self, step: Step, axis: Axis) -> Axis:
        if step.kind not in (*_NEURON_BY_NEURON, "affine"):
            raise obstacle(step, "does not act neuron by neuron")
        if step.kind != "flatten":
            return axis
        return Axis(axis.space, math.prod(step.shape) // self._spaces[axis.space].width)

    def _refuse_sharing(self, step: Step) -> None:
        known = {name for layer in self._layers for name in layer.step.weights.values()}
        for name in step.weights.values():
            if name in known:
                raise obstacle(step, f"uses {name} a second time")

    def _check_output(self, output: Layer) -> None:
        for step in _after(self._program.steps, output.step):
            if step.kind not in _LINEAR and not step.settings.get("linear"):
                raise obstacle(step, "follows the output layer, and is not linear")


def _after(steps: Sequence[Step], step: Step) -> Sequence[Step]:
    return steps[[other.name for other in steps].index(step.name) + 1 :]
