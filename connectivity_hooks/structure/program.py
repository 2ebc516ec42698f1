"""A model's computation, step by step, in a form that runs with other weights and other widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import Tensor

from connectivity_hooks.model.inputs import Inputs, named_tensors

Kind = Literal["affine", "norm", "activation", "pool", "flatten", "identity", "add", "product", "other"]

INPUT = "input"
"""Name of an input that is one tensor; others are named ``input.NAME``, by their dotted names."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """A tensor among a step's arguments.

    Attributes:
        source: Whether it is a value (of a step, or an input), a weight, or a constant of the program.
        name: Name of the value or the weight, or role of the constant.
    """

    source: Literal["value", "weight", "constant"]
    name: str


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        name: Unique name of the value it computes.
        kind: ``affine`` (a linear map or convolution), ``norm`` (batch norm in evaluation mode), ``activation``
            (elementwise, no weights), ``pool`` (linear or not, channel by channel), ``flatten`` (channels and space
            become neurons, channel by channel), ``identity`` (dropout that is off), ``add`` (of two values),
            ``product`` (of two values, entry by entry, as by a gate), or ``other``.
        inputs: Names of the values it reads, see `input_values` for the model's own inputs. Only ``other`` steps may
            read none.
        weights: Role (``weight``, ``bias``, ``mean``, ``var``) to weight name.
        constants: Role to a tensor that belongs to the program and not to the weights: made in the forward pass, or a
            buffer that is not persistent. Only ``other`` steps read any.
        apply: Computes the value from (inputs, weights by role), for any batch size and, except for ``other``, any
            width.
        shape: Shape of the value without the batch axis.
        whole_shape: Shape of the value as it was traced, batch axis and all: for several tensors a tuple of shapes, for
            no tensor None. A size that depends on the data is −1.
        arguments: The operation's arguments by the names PyTorch gives them (where it gives none, by ``0``, ``1``, …),
            with an `Operand` for each tensor.
        operation: The operation's own name, e.g. ``aten.conv2d``, for messages.
        module: Path of the innermost module that computes it, or the model's class; for messages.
        module_kind: Class of that module; for messages.
        groups: Groups of a convolution.
        dense: Whether an ``affine`` step maps its whole input, flattened, to one position: a linear map of neurons, or
            a convolution whose kernel covers its input without padding.
        eps: What a norm adds to its variances; 0 for other kinds.
        linear: Whether a pool is linear; False for other kinds.
        rounded: Whether its value is of a type that numbers are rounded to: integers, booleans, floats of one byte.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    weights: Mapping[str, str]
    apply: Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]
    shape: Shape
    operation: str
    whole_shape: Shape | tuple[Shape | None, ...] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""
    module_kind: str = ""
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    groups: int = 1
    dense: bool = False
    eps: float = 0.0
    linear: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class Program:
    """The steps in order of execution; the last one computes the output.

    Attributes:
        steps: The steps.
        shapes: Shapes of the inputs without the batch axis, by name (see `INPUT`).
        weight_shapes: Shapes of the weights that steps read, by name.
        tied: For each further name of such a weight the name that steps know it by.
        batch: Samples the program was traced with.
    """

    steps: tuple[Step, ...]
    shapes: Mapping[str, Shape]
    weight_shapes: Mapping[str, Shape] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    batch: int = 2

    def run(self, weights: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
        """Return the model's outputs under `weights`.

        Args:
            weights: Weights by name.
            inputs: Of a batch, as the model takes them.
        """
        values = input_values(inputs)
        for step in self.steps:
            values[step.name] = run_step(step, weights, values)
        return values[self.steps[-1].name]


def input_values(inputs: Inputs) -> dict[str, Tensor]:
    """Return the tensors among a model's inputs as the values a program begins with, by name."""
    return {input_name(name): tensor for name, tensor in named_tensors(inputs)}


def input_name(name: str) -> str:
    """Return the value's name of an input, from its dotted name among the inputs; empty for one tensor alone."""
    return f"{INPUT}.{name}" if name else INPUT


def run_step(step: Step, weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Compute one step's value from named weights, its constants and the values so far."""
    roles = {**step.constants, **{role: weights[name] for role, name in step.weights.items()}}
    return step.apply([values[name] for name in step.inputs], roles)
