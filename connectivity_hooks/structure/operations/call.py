"""A graph node as the recognisers see it: its operation, its arguments by name, and what these stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from connectivity_hooks.structure.program import Operand, Shape, Step
from connectivity_hooks.structure.replaying import Apply, replay
from connectivity_hooks.structure.writes import Redirects, module_of, operation_name


@dataclass(frozen=True)
class Sources:
    """What the nodes of a graph stand for.

    Attributes:
        values: Nodes that are values of steps, or inputs, by the value's name.
        weights: Placeholders of weights, by the weight's name.
        constants: Placeholders of tensors that belong to the program.
        objects: Nodes that are no tensors: graphs of blocks, and other objects.
        redirects: Reads that see the value of an in-place operation.
    """

    values: dict[fx.Node, str]
    weights: dict[fx.Node, str]
    constants: dict[fx.Node, Tensor]
    objects: dict[fx.Node, object]
    redirects: Redirects

    def seen_by(self, node: fx.Node, argument: fx.Node) -> fx.Node:
        """Return the node whose value another one sees where it names `argument`."""
        return self.redirects.get((node, argument), argument)


@dataclass(frozen=True)
class Call:
    """A ``call_function`` node of a graph.

    Attributes:
        node: The node.
        sources: What the nodes before it stand for.
        batch: Batch size the graph was traced with.
    """

    node: fx.Node
    sources: Sources
    batch: int

    @cached_property
    def operation(self) -> str:
        """Its name without namespace and trailing underscore; empty where it is none of PyTorch's own.

        Another library's may have the same name and mean another thing.
        """
        name, target = operation_name(self.node), self.node.target
        if not isinstance(target, torch._ops.OpOverload) or not name.startswith("aten."):
            return ""
        if any(argument.is_out for argument in target._schema.arguments):
            return ""  # one argument more, which it writes into
        return _without_underscore(name).removeprefix("aten.")

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The node's arguments by the name its schema gives them, defaults included; by number without a schema."""
        schema = getattr(self.node.target, "_schema", None)
        if schema is None:
            return {**{str(index): value for index, value in enumerate(self.node.args)}, **self.node.kwargs}
        given = dict(zip([argument.name for argument in schema.arguments], self.node.args, strict=False))
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        return {**defaults, **given, **self.node.kwargs}

    @cached_property
    def weights(self) -> dict[fx.Node, str]:
        """Its arguments that are weights, by their names."""
        return {arg: self.sources.weights[arg] for arg in self.node.all_input_nodes if arg in self.sources.weights}

    @cached_property
    def constants(self) -> dict[fx.Node, str]:
        """Its arguments that are constants of the program, by the role they are given in."""
        return {arg: arg.name for arg in self.node.all_input_nodes if arg in self.sources.constants}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values it reads, in the order of its arguments."""
        seen = [self.sources.seen_by(self.node, arg) for arg in self.node.all_input_nodes]
        return tuple(self.sources.values[value] for value in seen if value in self.sources.values)

    @property
    def bare(self) -> bool:
        """Whether it reads values only."""
        return not self.weights and not self.constants

    @property
    def only_value(self) -> fx.Node | None:
        """The node it reads, where that is one value and nothing else."""
        nodes = self.node.all_input_nodes
        return nodes[0] if self.bare and len(nodes) == len(self.inputs) == 1 else None

    @property
    def shape(self) -> Shape:
        """Shape of its value without the batch axis; empty where it is no tensor."""
        value = self.node.meta.get("val")
        return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()

    @property
    def gives_a_tensor(self) -> bool:
        """Whether its value is one tensor."""
        return isinstance(self.node.meta.get("val"), Tensor)

    def roles(self, roles: Mapping[str, str]) -> dict[str, str] | None:
        """Return role to weight name; None if an argument is computed, or no weight.

        Args:
            roles: Role to the argument's name; arguments that are not given are left out.
        """
        given = {
            role: self.arguments[name] for role, name in roles.items() if isinstance(self.arguments.get(name), fx.Node)
        }
        if any(node not in self.weights for node in given.values()):
            return None
        return {role: self.weights[node] for role, node in given.items()}

    def known(self, kind: Any, apply: Apply, **facts: Any) -> Step:
        """Return the step of a recognised operation; `facts` are fields of `Step`."""
        return Step(kind=kind, apply=apply, **{"weights": {}, **self._common(), **facts})

    def other(self) -> Step:
        """Return the step of an operation nobody recognises, which can be run all the same."""
        return Step(
            kind="other",
            weights={name: name for name in self.weights.values()},
            constants={role: self.sources.constants[arg] for arg, role in self.constants.items()},
            apply=self.replayed({**self.weights, **self.constants}),
            **self._common(),
        )

    def replayed(self, roles: Mapping[fx.Node, str] | None = None) -> Apply:
        """Return a function that calls the node's own operation, see `replay`."""
        return replay(self.node, roles or {}, self.sources.objects)

    def _common(self) -> dict[str, Any]:
        path, kind = module_of(self.node)
        return {
            "name": self.node.name,
            "inputs": self.inputs,
            "shape": self.shape,
            "whole_shape": _whole_shape(self.node.meta.get("val")),
            "arguments": {name: fx.node.map_arg(value, self._operand) for name, value in self.arguments.items()},
            "rounded": _is_rounded(self.node.meta.get("val")),
            "operation": _once(_without_underscore(operation_name(self.node))),
            "module": path or kind,
            "module_kind": kind,
        }

    def _operand(self, argument: fx.Node) -> Any:
        seen = self.sources.seen_by(self.node, argument)
        if seen in self.sources.values:
            return Operand("value", self.sources.values[seen])
        if argument in self.weights:
            return Operand("weight", self.weights[argument])
        return Operand("constant", argument.name) if argument in self.constants else None


def axes_of(value: Any) -> int:
    """Return the axes of a tensor; 0 for a number, also one that is read from a tensor (``x.mean().item()``)."""
    known = value.meta.get("val") if isinstance(value, fx.Node) else None
    return int(known.ndim) if isinstance(known, Tensor) else 0


def _without_underscore(name: str) -> str:
    in_place = name.endswith("_") and not name.endswith("__")
    return name[:-1] if in_place else name


_ALSO_CALLED = {
    "multiply": "mul", "divide": "div", "true_divide": "div", "subtract": "sub", "negative": "neg", "absolute": "abs",
    "clip": "clamp", "concat": "cat", "concatenate": "cat", "broadcast_to": "expand", "greater": "gt", "less": "lt",
    "greater_equal": "ge", "less_equal": "le", "not_equal": "ne", "__and__": "bitwise_and", "__or__": "bitwise_or",
    "__xor__": "bitwise_xor",
}  # fmt: skip
"""Second names of operations, with the same arguments: a table needs one row for both."""


def _once(name: str) -> str:
    namespace, _, operation = name.partition(".")
    return f"aten.{_ALSO_CALLED.get(operation, operation)}" if namespace == "aten" else name


def _is_rounded(value: Any) -> bool:
    """Say whether a value is one tensor of a type that numbers are rounded to; wider floats round as all sums do."""
    if not isinstance(value, Tensor) or value.dtype.is_complex:
        return False
    return not value.dtype.is_floating_point or value.dtype.itemsize == 1


def _whole_shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return tuple(map(_whole_shape, value)) if isinstance(value, (tuple, list)) else None
