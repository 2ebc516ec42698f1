"""A model's computation, step by step, in a form that runs with other weights and other widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

Kind = Literal["affine", "norm", "activation", "pool", "flatten", "identity", "add", "product", "other"]

INPUT = "input"


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        name: Unique name of the value it computes.
        kind: ``affine`` (a linear map or convolution), ``norm`` (batch norm in evaluation mode), ``activation``
            (elementwise, no weights), ``pool`` (linear or not, channel by channel), ``flatten`` (channels and space
            become neurons, channel by channel), ``identity`` (dropout that is off), ``add`` (of two values),
            ``product`` (of two values, entry by entry, as by a gate), or ``other``.
        inputs: Names of the values it reads; `INPUT` is the model's input. Only ``other`` steps may read none.
        weights: Role (``weight``, ``bias``, ``mean``, ``var``) to weight name.
        constants: Role to a tensor that belongs to the program and not to the weights: made in the forward pass, or a
            buffer that is not persistent. Only ``other`` steps read any.
        apply: Computes the value from (inputs, weights by role), for any batch size and, except for ``other``, any
            width.
        shape: Shape of the value without the batch axis.
        operation: The operation's own name, e.g. ``aten.conv2d``, for messages.
        module: Path of the innermost module that computes it, or the model's class; for messages.
        module_kind: Class of that module; for messages.
        groups: Groups of a convolution.
        dense: Whether an ``affine`` step maps its whole input, flattened, to one position: a linear map of neurons, or
            a convolution whose kernel covers its input without padding.
        settings: Further facts: ``eps`` of a norm, whether a pool is ``linear``.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    weights: Mapping[str, str]
    apply: Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]
    shape: tuple[int, ...]
    operation: str
    module: str = ""
    module_kind: str = ""
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    groups: int = 1
    dense: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """The steps in order of execution; the last one computes the output.

    Attributes:
        steps: The steps.
        input_shape: Shape of the input without the batch axis.
    """

    steps: tuple[Step, ...]
    input_shape: tuple[int, ...]

    def run(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the model's outputs under `weights`."""
        values = {INPUT: inputs}
        for step in self.steps:
            values[step.name] = run_step(step, weights, values)
        return values[self.steps[-1].name]


def run_step(step: Step, weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Compute one step's value from named weights, its constants and the values so far."""
    roles = {**step.constants, **{role: weights[name] for role, name in step.weights.items()}}
    return step.apply([values[name] for name in step.inputs], roles)
