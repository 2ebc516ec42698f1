"""Checking a program against the model it was read from, by running both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.model.inputs import Inputs, concatenated, mapped, rows_of, taken
from connectivity_hooks.model.running import Forward
from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.structure.differences import parting
from connectivity_hooks.structure.program import Program, input_values, run_step

Held: TypeAlias = Mapping[str, tuple[str, Any]]

UNITS = 1000
"""Both sides run the same operations on other strides: they differ by rounding, grown through the layers."""

LOOSEST = 0.02
"""Where the type is coarse: what an operation that was lost does to the outputs is far above it."""

_WRONG = "the model's structure cannot be read"


@torch.no_grad()
def check(model: nn.Module, program: Program, example: Inputs, graph: fx.GraphModule, held: Held, run: Forward) -> None:
    """Compare a program with its model, on the example and, where it should take one, on another number of samples.

    Weights that are all zero, as the last norm of a residual block in a new network, get other values for the check
    alone: behind them nothing would be seen.

    Args:
        model: The model, in evaluation mode.
        program: What was read from it.
        example: Inputs of N samples.
        graph: The graph it was read from, to name the place where both part.
        held: For each placeholder of the graph the name of its tensor in the model or of the input, and its value.
        run: How the model is run.

    Raises:
        InputError: A step cannot be run, or the outputs differ.
    """
    awake = _awake(model)
    weights = {**_tensors(model), **awake}
    batches = [example]
    if all(step.kind != "other" for step in program.steps):
        batches.append(concatenated([example, taken(example, slice(0, 1))]))
    for inputs in batches:
        own = input_values(inputs)
        expected, values = _expected(model, awake, inputs, run), _run(program, weights, own)
        fault = _fault(expected, values[program.steps[-1].name])
        if fault and inputs is example:
            given = {node: weights.get(name, own.get(name, value)) for node, (name, value) in held.items()}
            fault += f"; {parting(graph, given, program, values)}"
        if fault:
            raise InputError(f"{_WRONG}: on {rows_of(inputs)} samples {fault}")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    parameters, buffers = model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    return {name: tensor.detach() for name, tensor in (*parameters, *buffers)}


def _awake(model: nn.Module) -> dict[str, Tensor]:
    """Return other values for the floating weights that are all zero; one value for all names of a tied one.

    Buffers that are not persistent are constants of the program, which hold the values they were read with.
    """
    generator = torch.Generator().manual_seed(0)
    drawn: dict[int, Tensor] = {}
    found = {}
    for name, tensor in weights_of(model).items():
        if tensor.is_floating_point() and tensor.numel() and not bool(tensor.any()):
            key = tensor.data_ptr()
            if key not in drawn:
                reads = tensor.numel() // len(tensor) if tensor.ndim else 1
                drawn[key] = (torch.rand(tensor.shape, generator=generator) / reads).to(tensor)
            found[name] = drawn[key]
    return found


def _expected(model: nn.Module, awake: Mapping[str, Tensor], inputs: Inputs, run: Forward) -> Tensor:
    try:
        outputs = run.under(model, awake, mapped(torch.clone, inputs))
    except Exception as error:
        raise InputError(f"{_WRONG}: it does not run on the first samples: {one_line(error, 200)}") from None
    if not outputs.is_floating_point():
        raise InputError(f"{_WRONG}: expected one tensor of floating-point numbers as output, found {outputs.dtype}")
    if not bool(torch.isfinite(outputs).all()):
        raise InputError(f"{_WRONG}: its outputs on the first samples hold NaN or Inf, so that nothing can be compared")
    return outputs


def _run(program: Program, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the value of every step."""
    values = {name: tensor.clone() for name, tensor in inputs.items()}
    for step in program.steps:
        try:
            values[step.name] = run_step(step, weights, values)
        except Exception as error:
            place = f"{step.operation} ({step.module})"
            raise InputError(f"{_WRONG}: {place} cannot be run again: {one_line(error, 200)}") from None
    return values


def _fault(expected: Tensor, found: Tensor) -> str:
    if found.shape != expected.shape:
        return f"its steps give outputs {tuple(found.shape)}, the model {tuple(expected.shape)}"
    scale = float(expected.abs().max()) or 1.0
    wrong = float((found - expected).abs().max()) / scale
    if wrong <= min(UNITS * torch.finfo(expected.dtype).eps, LOOSEST):
        return ""
    return f"its steps give other outputs than the model (relative error {wrong:.1e})"
