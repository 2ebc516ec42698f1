"""Reading a program as a network a certified path can be built for, or naming the first obstacle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Weights
from connectivity_hooks.structure import Program, Step, causes
from connectivity_hooks.structure.causes import cause
from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.network.cuts import find_cuts
from connectivity_hooks_theorem.certified.network.network import Axis, Layer, Network
from connectivity_hooks_theorem.certified.spaces import Spaces

INSTEAD = "use --builder linear, whose barrier is measured"

_CAUSES = {
    causes.LAYER_NORM: "which normalises over neurons, so that a dead one still counts",
    causes.RMS_NORM: "which normalises over neurons, so that a dead one still counts",
    causes.GROUP_NORM: "which normalises over groups of channels, so that a dead one still counts",
    causes.INSTANCE_NORM: "which computes its statistics from the input",
    causes.LIVE_BATCH_NORM: "which computes its statistics from the input",
    causes.ATTENTION: "whose scores every neuron enters",
    causes.SOFTMAX: "which normalises over neurons or positions",
    causes.RECURRENT: "whose neurons read themselves",
}
_TOKENWISE = "maps the last of several axes, whose neurons are not channels"
_REASONS = {
    "aten.batch_norm": "reads tensors that are not among the weights",
    "aten.linear": "has weights that are computed, or in no checkpoint",
    "aten.mul": "multiplies by weights or by a number computed from them",
    "aten.cat": "concatenates values",
    "aten.split": "splits a value",
    "aten.split_with_sizes": "splits a value",
    "aten.chunk": "splits a value",
    "aten.embedding": "looks its input up in a table",
    "aten.matmul": "multiplies two values as matrices",
    "aten.bmm": "multiplies two values as matrices",
    "aten.flatten": "merges other axes than channels and space",
    "aten.permute": "moves neurons to another axis",
    "aten.transpose": "moves neurons to another axis",
}
_NEURON_BY_NEURON = ("norm", "activation", "pool", "flatten", "identity")
_LINEAR = ("flatten", "identity")


def obstacle(step: Step, reason: str) -> InputError:
    """Return the error that names a step, by its weight or else its module, and why it does not fit."""
    return InputError(f"builder certified: {step.operation} ({_place(step)}) {reason}; {INSTEAD}")


def _place(step: Step) -> str:
    return next(iter(step.weights.values()), step.module)


def refusal(program: Program) -> InputError | None:
    """Return the error for a program with steps that do not fit; None where all do.

    It names the first cause that a person knows by name, and the first step.

    A flatten in front of a transformer's first layer norm does not fit either, but nobody would call it the reason.
    """
    steps = [step for step in program.steps if step.kind == "other"]
    if not steps:
        return None
    first, fed = steps[0], _fed(program.steps)
    known = next((step for step in steps if step.name in fed and cause(step)), None)
    if known is None:
        mixing = _TOKENWISE if _maps_tokens(first) else _REASONS.get(first.operation, "does not act neuron by neuron")
        alone = "makes a weight of other weights" if first.weights else "makes a tensor of its own"
        return obstacle(first, mixing if first.name in fed else alone)
    named = str(cause(known))
    kind = f" ({known.module_kind})" if known.module_kind not in ("", known.module) else ""
    before = "" if known is first else f"; the first step that does not fit is {first.operation} ({_place(first)})"
    return InputError(
        f"builder certified: {known.module}{kind} is {named}, {_CAUSES[named]} ({known.operation}){before}; {INSTEAD}"
    )


def _maps_tokens(step: Step) -> bool:
    return step.operation == "aten.linear" and len(step.shape) > 1


def _fed(steps: Sequence[Step]) -> set[str]:
    """Return the values that depend on the input; the others are made of weights alone."""
    found = {INPUT}
    for step in steps:
        if found.intersection(step.inputs):
            found.add(step.name)
    return found


def read_network(program: Program, weights: Weights) -> Network:
    """Read a program's spaces and cuts.

    Raises:
        InputError: Neurons are mixed in a way the construction does not know; the message names the first cause that a
            person knows by name, and the first step that does not fit.
    """
    error = refusal(program)
    if error is not None:
        raise error
    if not program.shapes[INPUT]:
        raise InputError(f"builder certified: expected inputs of several entries, found one number a sample; {INSTEAD}")
    reader = _Reader(program, weights)
    for step in program.steps:
        reader.read(step)
    return reader.finish()


class _Reader:
    """Goes through the steps; an axis is (space, entries) until the widths of the spaces are settled."""

    def __init__(self, program: Program, weights: Weights) -> None:
        self._program = program
        self._weights = weights
        self._shapes = {INPUT: program.shapes[INPUT]}
        self._spaces = Spaces(program.shapes[INPUT][0])
        self._of = {INPUT: 0}
        self._reads: dict[str, int | None] = {}
        self._layers: list[Step] = []

    def read(self, step: Step) -> None:
        self._refuse_sharing(step)
        self._shapes[step.name] = step.shape
        before = self._of[step.inputs[0]]
        if step.weights:
            self._layers.append(step)
            self._reads[step.name] = before if step.kind == "affine" and step.groups == 1 else None
        if step.kind == "affine":
            self._of[step.name] = self._affine(step, before)
        elif step.kind in ("add", "product"):
            self._of[step.name] = self._joined(step)
        elif step.kind in _NEURON_BY_NEURON:
            self._of[step.name] = before
        else:
            raise obstacle(step, "does not act neuron by neuron")

    def finish(self) -> Network:
        mixing = [step for step in self._layers if self._reads[step.name] is not None]
        if len(mixing) < 2:
            raise InputError(f"builder certified: expected hidden layers and an affine output layer; {INSTEAD}")
        self._check_output(mixing[-1])
        spaces, numbers = self._spaces.merged(self._of[mixing[-1].name])
        for space in spaces:
            if not space.whole and space.width < 2:
                raise InputError(f"builder certified: {space.name} makes 1 neuron, two sides need 2; {INSTEAD}")
        axes = {name: self._axis(name, numbers) for name in self._of}
        layers = tuple(self._layer(step, axes) for step in self._layers)
        cuts = find_cuts(self._program.steps, {step.name for step in mixing})
        output = next(layer for layer in layers if layer.step is mixing[-1])
        return Network(self._program, spaces, axes, layers, cuts, output)

    def _axis(self, value: str, numbers: Mapping[int, int]) -> Axis:
        axis = self._spaces.axis(self._of[value], self._shapes[value][0])
        return replace(axis, space=numbers[axis.space])

    def _layer(self, step: Step, axes: Mapping[str, Axis]) -> Layer:
        return Layer(step, axes[step.name], None if self._reads[step.name] is None else axes[step.inputs[0]])

    def _affine(self, step: Step, before: int) -> int:
        weight = self._weights[step.weights["weight"]]
        if step.groups == 1:
            return self._spaces.new(step.weights["weight"], weight.shape[0])
        if self._spaces.is_input(before):
            raise obstacle(step, f"reads the input in {step.groups} groups, and its channels cannot be cut")
        self._spaces.coarsen(before, step.groups)
        return before

    def _joined(self, step: Step) -> int:
        """Return the one space of two values that are added, or multiplied as by a gate."""
        one, other = (self._shapes[name] for name in step.inputs)
        word = "adds" if step.kind == "add" else "multiplies"
        if one[0] != other[0] or (step.kind == "add" and one != other):
            raise obstacle(step, f"{word} values of different shapes")
        spaces = [self._of[name] for name in step.inputs]
        if any(self._spaces.is_input(space) for space in spaces):
            raise obstacle(step, f"{word} the input itself, whose channels cannot be cut")
        self._spaces.unite(*spaces)
        return spaces[0]

    def _refuse_sharing(self, step: Step) -> None:
        known = {name for layer in self._layers for name in layer.weights.values()}
        for name in step.weights.values():
            if name in known:
                raise obstacle(step, f"uses {name} a second time")

    def _check_output(self, output: Step) -> None:
        for step in _after(self._program.steps, output):
            if step.kind not in _LINEAR and not step.linear:
                raise obstacle(step, "follows the output layer, and is not linear")


def _after(steps: Sequence[Step], step: Step) -> Sequence[Step]:
    return steps[[other.name for other in steps].index(step.name) + 1 :]
