"""Reading a model's structure from its torch.export graph."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.inputs import Inputs, rows_of
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.structure.checking import check
from connectivity_hooks.structure.differences import random_step
from connectivity_hooks.structure.exporting import export, leaves, own_name, without_writes
from connectivity_hooks.structure.operations.call import Call, Sources
from connectivity_hooks.structure.operations.table import step_of
from connectivity_hooks.structure.program import Program, Step, input_name, input_values
from connectivity_hooks.structure.untouched import untouched
from connectivity_hooks.structure.writes import Redirects, WrittenInParts, redirects


@dataclass(frozen=True)
class _Given:
    """What a placeholder of the graph stands for.

    Attributes:
        name: Name of the input among the program's values, of the tensor in the model, or of another object.
        value: The tensor or object.
        is_input: Whether it is an input.
    """

    name: str
    value: Any
    is_input: bool


def read_program(model: nn.Module, example: Inputs, run: Forward = PLAIN) -> Program:
    """Read what `model` computes, and check by running it that it was read right.

    Tensors that are not among the model's weights (made in its forward pass, or buffers that are not persistent) are
    constants of the program. Whatever an operation is to us, it is a step, if only an ``other`` one.

    Args:
        model: Any module; read in evaluation mode and left as it was.
        example: Inputs it accepts, of N ≥ 2 samples: a tensor, a tuple of arguments or a mapping of named ones, nested.
        run: How the model is run, and which of what it returns are its outputs.

    Raises:
        InputError: torch.export cannot trace the module, an operation writes into a part of a value that is read
            later, no output can be picked, or the steps do not give the module's own outputs.
    """
    with evaluation_mode(model), untouched(model), _kept_buffers(model):
        exported = export(model, example, run)
        try:
            placeholders = _placeholders(exported, example)
            program = _program(exported, placeholders, weights_of(model), example)
        except WrittenInParts:  # such as labels that a decoder moves by one position
            copying = without_writes(exported)
            if copying is None:
                raise
            exported, placeholders = copying, _placeholders(copying, example)
            program = _program(exported, placeholders, weights_of(model), example)
        held = {node: (given.name, given.value) for node, given in placeholders.items()}
        check(model, program, example, exported.graph_module, held, run)
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


def _placeholders(exported: ExportedProgram, example: Inputs) -> dict[str, _Given]:
    """Return what each placeholder stands for, by its name in the graph."""
    found: dict[str, _Given] = {}
    given = iter(leaves(example))
    for spec in exported.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            name, leaf = next(given)
            found[spec.arg.name] = _Given(input_name(name), leaf, isinstance(leaf, Tensor))
        else:
            target = str(spec.target)
            held = exported.constants if target in exported.constants else exported.state_dict
            found[spec.arg.name] = _Given(own_name(target), held.get(target), False)
    return found


def _program(
    exported: ExportedProgram, placeholders: Mapping[str, _Given], weights: Mapping[str, Tensor], example: Inputs
) -> Program:
    graph, batch = exported.graph_module, rows_of(example)
    seen, held = redirects(graph, {name: given.value for name, given in placeholders.items()})
    sources = Sources({}, {}, {}, {}, seen)
    steps: list[Step] = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            _sort(node, placeholders[node.name], weights, sources)
        elif node.op == "get_attr":
            sources.objects[node] = operator.attrgetter(str(node.target))(graph)
        elif node in held:
            sources.constants[node] = held[node]
        elif node.op == "call_function":
            steps.append(step_of(Call(node, sources, batch)))
            sources.values[node] = node.name
    output = sources.values[_output(exported, seen)]
    last = next(index for index, step in enumerate(steps) if step.name == output)
    needed = _needed(steps[: last + 1])
    read = {name: tuple(weights[name].shape) for step in needed for name in step.weights.values()}
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in input_values(example).items()}
    program = Program(needed, shapes, read, _tied(read, weights), batch)
    random = random_step(graph, program)
    if random:  # however rarely it shows, and on whichever samples
        raise InputError(f"the model's structure cannot be read: {random} draws random numbers")
    return program


def _tied(read: Collection[str], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the further names of weights that steps read."""

    def memory(tensor: Tensor) -> tuple[object, ...]:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    known = {memory(weights[name]): name for name in read if weights[name].numel()}
    others = ((name, known.get(memory(tensor))) for name, tensor in weights.items() if name not in read)
    return {name: own for name, own in others if own is not None}


def _sort(node: fx.Node, given: _Given, weights: Collection[str], sources: Sources) -> None:
    """Note what a placeholder stands for: an input, a weight, a constant, or another object."""
    if given.is_input:
        sources.values[node] = given.name
    elif given.name in weights:
        sources.weights[node] = given.name
    elif isinstance(given.value, Tensor):
        sources.constants[node] = given.value.clone()  # memory of a weight under another name would follow the weight
    else:
        sources.objects[node] = given.value


def _output(exported: ExportedProgram, seen: Redirects) -> fx.Node:
    """Return the node that computes the output, the only one there is once it was picked."""
    nodes = {node.name: node for node in exported.graph.nodes}
    reader = next(node for node in exported.graph.nodes if node.op == "output")
    specs = [spec for spec in exported.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    node: fx.Node = nodes[specs[0].arg.name]
    node = seen.get((reader, node), node)
    if node.op != "call_function":
        raise InputError("the model's structure cannot be read: it returns its input, or a weight, as it is")
    return node


def _needed(steps: list[Step]) -> tuple[Step, ...]:
    """Drop the steps whose values nobody reads."""
    needed = {steps[-1].name}
    kept: list[Step] = []
    for step in reversed(steps):
        if step.name in needed:
            needed.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))
