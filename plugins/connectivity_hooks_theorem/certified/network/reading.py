"""Reading a program as a network a certified path can be built for, or naming the first obstacle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import (
    INPUT,
    INPUTS,
    OUTPUTS,
    Axis,
    Program,
    Space,
    Spaces,
    Step,
    cause,
    causes,
    leading,
    read_spaces,
)
from connectivity_hooks_theorem.certified.network.cuts import find_cuts
from connectivity_hooks_theorem.certified.network.network import Layer, Network

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


def read_network(program: Program) -> Network:
    """Read a program's spaces and cuts.

    Raises:
        InputError: There are several inputs, or neurons are mixed in a way the construction does not know; the message
            names the first cause that a person knows by name, and the first step that does not fit.
    """
    _require_one_input(program)
    error = refusal(program)
    if error is not None:
        raise error
    reader = _Reader(program)
    for step in program.steps:
        reader.read(step)
    return reader.finish()


def _require_one_input(program: Program) -> None:
    named = ", ".join(name.removeprefix(f"{INPUT}.") for name in program.shapes)
    if len(program.shapes) != 1:
        raise InputError(
            f"builder certified: the network reads {len(program.shapes)} inputs ({named}), expected one; {INSTEAD}"
        )
    if INPUT not in program.shapes:
        raise InputError(f"builder certified: inputs are named ({named}), expected one tensor; {INSTEAD}")


class _Reader:
    """Goes through the steps and refuses what does not fit; what is left has spaces that can be cut."""

    def __init__(self, program: Program) -> None:
        if not program.shapes[INPUT]:
            raise InputError(
                f"builder certified: expected inputs of several entries, found one number a sample; {INSTEAD}"
            )
        self._program = program
        self._shapes = {INPUT: program.shapes[INPUT], **{step.name: step.shape for step in program.steps}}
        self._of_input = {INPUT}
        self._layers: list[Step] = []

    def read(self, step: Step) -> None:
        self._refuse_sharing(step)
        if step.weights:
            self._layers.append(step)
        if step.kind == "affine":
            self._refuse_groups_of_the_input(step)
        elif step.kind in ("add", "product"):
            self._refuse_what_does_not_meet(step)
        elif step.kind not in _NEURON_BY_NEURON:
            raise obstacle(step, "does not act neuron by neuron")
        if step.kind in _NEURON_BY_NEURON and step.inputs[0] in self._of_input:
            self._of_input.add(step.name)

    def finish(self) -> Network:
        mixing = [step for step in self._layers if _mixes(step)]
        if len(mixing) < 2:
            raise InputError(f"builder certified: expected hidden layers and an affine output layer; {INSTEAD}")
        self._check_output(mixing[-1])
        spaces, axes = self._spaces()
        layers = tuple(
            Layer(step, axes[step.name], axes[step.inputs[0]] if _mixes(step) else None) for step in self._layers
        )
        cuts = find_cuts(self._program.steps, {step.name for step in mixing})
        output = next(layer for layer in layers if layer.step is mixing[-1])
        return Network(self._program, spaces, axes, layers, cuts, output)

    def _spaces(self) -> tuple[tuple[Space, ...], dict[str, Axis]]:
        """Return the spaces that are cut in the order in which values meet them, the input's first, and every axis."""
        found = read_spaces(self._program)
        channels = self._program.shapes[INPUT][0]
        spaces, numbers = [Space(INPUTS, channels, (INPUTS,))], dict[int, int]()
        axes = {name: Axis(0, self._shapes[name][0] // channels) for name in self._shapes if name in self._of_input}
        for step in self._program.steps:
            if step.name not in axes:
                axis = _cuttable(found, step)
                if axis.space not in numbers:
                    numbers[axis.space] = len(spaces)
                    spaces.append(found.spaces[axis.space])
                axes[step.name] = replace(axis, space=numbers[axis.space])
        return tuple(spaces), {name: axes[name] for name in self._shapes}

    def _refuse_groups_of_the_input(self, step: Step) -> None:
        if step.groups > 1 and step.inputs[0] in self._of_input:
            raise obstacle(step, f"reads the input in {step.groups} groups, and its channels cannot be cut")

    def _refuse_what_does_not_meet(self, step: Step) -> None:
        """Refuse values that are added, or multiplied as by a gate, whose neurons are not one space."""
        one, other = (self._shapes[name] for name in step.inputs)
        word = "adds" if step.kind == "add" else "multiplies"
        if one[0] != other[0] or (step.kind == "add" and one != other):
            raise obstacle(step, f"{word} values of different shapes")
        if any(name in self._of_input for name in step.inputs):
            raise obstacle(step, f"{word} the input itself, whose channels cannot be cut")

    def _refuse_sharing(self, step: Step) -> None:
        known = {name for layer in self._layers for name in layer.weights.values()}
        for name in step.weights.values():
            if name in known:
                raise obstacle(step, f"uses {name} a second time")

    def _check_output(self, output: Step) -> None:
        for step in _after(self._program.steps, output):
            if step.kind not in _LINEAR and not step.linear:
                raise obstacle(step, "follows the output layer, and is not linear")


def _mixes(step: Step) -> bool:
    """Say whether a layer reads other neurons than its own: a grouped convolution cuts along its groups."""
    return step.kind == "affine" and step.groups == 1


def _after(steps: Sequence[Step], step: Step) -> Sequence[Step]:
    return steps[[other.name for other in steps].index(step.name) + 1 :]


def _cuttable(found: Spaces, step: Step) -> Axis:
    """Return the axis of a value's neurons, whose space can be cut in two or is that of the outputs."""
    axis = leading(found.values[step.name][1])
    space = None if axis is None else found.spaces[axis.space]
    if axis is None or space is None or (space.pins != (OUTPUTS,) and (space.whole or space.width < 2)):
        name = _place(step) if space is None else space.name
        raise InputError(f"builder certified: {name} makes 1 neuron, two sides need 2; {INSTEAD}")
    return axis
