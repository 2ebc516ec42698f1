"""Reading a model's structure from its torch.export graph."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.structure.checking import check
from connectivity_hooks.structure.differences import random_step
from connectivity_hooks.structure.exporting import export
from connectivity_hooks.structure.operations import Sources, step_of
from connectivity_hooks.structure.program import INPUT, Program, Step
from connectivity_hooks.structure.untouched import untouched
from connectivity_hooks.structure.writes import Redirects, redirects


def read_program(model: nn.Module, example: Tensor, run: Forward = PLAIN) -> Program:
    """Read what `model` computes, and check by running it that it was read right.

    Tensors that are not among the model's weights (made in its forward pass, or buffers that are not persistent) are
    constants of the program. Whatever an operation is to us, it is a step, if only an ``other`` one.

    Args:
        model: Any module; read in evaluation mode and left as it was.
        example: Inputs (N, …) it accepts, N ≥ 2.
        run: How the model is run.

    Raises:
        InputError: torch.export cannot trace the module, an operation writes into a part of a value that is read
            later, the module returns something else than one tensor, or the steps do not give the module's own outputs.
    """
    with evaluation_mode(model), untouched(model), _kept_buffers(model):
        exported = export(model, example)
        placeholders = _placeholders(exported, example)
        program = _program(exported, placeholders, weights_of(model).keys(), example)
        check(model, program, example, exported.graph_module, placeholders, run)
    return program


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Put back the values of buffers that a pass writes into, such as counters."""
    kept = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers() if not _lazy(buffer)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, version, values in kept:
                if buffer._version != version:
                    buffer.copy_(values)


def _lazy(buffer: Tensor) -> bool:
    return isinstance(buffer, nn.parameter.UninitializedBuffer)


def _placeholders(exported: ExportedProgram, example: Tensor) -> dict[str, tuple[str, Any]]:
    """Return for each placeholder the name of its tensor in the model, or `INPUT`, and its value."""
    found: dict[str, tuple[str, Any]] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            found[spec.arg.name] = (INPUT, example)
        else:
            target = str(spec.target)
            held = exported.constants if target in exported.constants else exported.state_dict
            found[spec.arg.name] = (target, held.get(target))
    return found


def _program(
    exported: ExportedProgram, placeholders: Mapping[str, tuple[str, Any]], weights: Collection[str], example: Tensor
) -> Program:
    graph = exported.graph_module
    seen = redirects(graph, {name: value for name, (_, value) in placeholders.items()})
    sources = Sources({}, {}, {}, {}, seen)
    steps: list[Step] = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            _sort(node, *placeholders[node.name], weights, sources)
        elif node.op == "get_attr":
            sources.objects[node] = operator.attrgetter(str(node.target))(graph)
        elif node.op == "call_function":
            steps.append(step_of(node, sources, len(example)))
            sources.values[node] = node.name
    output = sources.values[_output(exported, seen)]
    last = next(index for index, step in enumerate(steps) if step.name == output)
    program = Program(_needed(steps[: last + 1]), tuple(example.shape[1:]))
    random = random_step(graph, program)
    if random:  # however rarely it shows, and on whichever samples
        raise InputError(f"the model's structure cannot be read: {random} draws random numbers")
    return program


def _sort(node: fx.Node, name: str, value: Any, weights: Collection[str], sources: Sources) -> None:
    """Note what a placeholder stands for: the input, a weight, a constant, or another object."""
    if name == INPUT:
        sources.values[node] = INPUT
    elif name in weights:
        sources.weights[node] = name
    elif isinstance(value, Tensor):
        sources.constants[node] = value.clone()  # memory of a weight under another name would follow the weight
    else:
        sources.objects[node] = value


def _output(exported: ExportedProgram, seen: Redirects) -> fx.Node:
    """Return the node that computes the output."""
    nodes = {node.name: node for node in exported.graph.nodes}
    reader = next(node for node in exported.graph.nodes if node.op == "output")
    specs = [spec for spec in exported.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    if len(specs) != 1 or not isinstance(specs[0].arg, TensorArgument):
        raise InputError(
            f"the model's structure cannot be read: it returns {len(specs)} values, expected one tensor; wrap it in a "
            "module that returns the outputs the loss reads"
        )
    node: fx.Node = nodes[specs[0].arg.name]
    node = seen.get((reader, node), node)
    if node.op != "call_function":
        raise InputError("the model's structure cannot be read: it returns its input, or a weight, as it is")
    return node


def _needed(steps: list[Step]) -> tuple[Step, ...]:
    """Drop the steps whose values nobody reads."""
    needed = {steps[-1].name}
    kept = []
    for step in reversed(steps):
        if step.name in needed:
            needed.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))
