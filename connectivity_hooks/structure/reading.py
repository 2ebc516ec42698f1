"""Reading a model's structure from its torch.export graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure.operations import step_of
from connectivity_hooks.structure.program import INPUT, Program, Step

TOLERANCE = 1e-9


def read_program(model: nn.Module, example: Tensor) -> Program:
    """Read what `model` computes, and check by running it that it was read right.

    Args:
        model: Any module; read in evaluation mode and left as it was.
        example: Inputs (N, …) it accepts, N ≥ 2.

    Raises:
        InputError: torch.export cannot trace the module, or the steps do not give the module's own outputs.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        exported = _exported(model, example)
        program = _program(exported, example)
        _check(model, program, example)
    finally:
        for module, mode in training.items():
            module.training = mode
    return program


def _exported(model: nn.Module, example: Tensor) -> ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(model, (example,), strict=False)
    except Exception as error:  # torch.export raises whatever the model's own code runs into under tracing
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{type(model).__name__}: its structure cannot be read: {reason}") from None


def _program(exported: ExportedProgram, example: Tensor) -> Program:
    names = _weight_names(exported)
    values: dict[fx.Node, str] = {}
    steps: list[Step] = []
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name not in names:
            values[node] = INPUT
        elif node.op == "call_function":
            step = step_of(node, values, names, len(example))
            values[node] = step.name
            steps.append(step)
    output = _output(exported)
    last = [index for index, step in enumerate(steps) if step.name == values.get(output)]
    if not last:
        raise InputError("the model's structure cannot be read: expected one tensor as output")
    return Program(_needed(steps[: last[0] + 1]), tuple(example.shape[1:]))


def _weight_names(exported: ExportedProgram) -> dict[str, str]:
    """Return placeholder name to weight name; lifted constants keep their own name."""
    signature = exported.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def _output(exported: ExportedProgram) -> Any:
    (results,) = next(node.args for node in exported.graph.nodes if node.op == "output")
    return results[-1] if isinstance(results, (tuple, list)) and len(results) == 1 else None


def _needed(steps: list[Step]) -> tuple[Step, ...]:
    """Drop the steps whose values nobody reads."""
    needed = {steps[-1].name}
    kept = []
    for step in reversed(steps):
        if step.name in needed:
            needed.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


@torch.no_grad()
def _check(model: nn.Module, program: Program, example: Tensor) -> None:
    weights: Mapping[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    expected = model(example)
    found = program.run(weights, example)
    scale = float(expected.abs().max()) or 1.0
    wrong = float((found - expected).abs().max()) / scale
    tolerance = max(TOLERANCE, 1000 * torch.finfo(expected.dtype).eps)
    if not wrong <= tolerance:
        raise InputError(
            f"the model's structure was read, but its steps give other outputs (relative error {wrong:.1e})"
        )
