"""Which value each operation of a graph sees, where operations write in place into values of others.

A step computes a new value and changes none. What is written in place is then the value of the writing step, and
whoever reads the written tensor later has to read that step. Views share memory, and a schema does not tell all of
them, so the graph is run once on real tensors: their version counters, which views share, tell who wrote and who reads
after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure.exporting import own_name

Redirects = Mapping[tuple[fx.Node, fx.Node], fx.Node]
"""(Reader, node it names) to the node whose value it sees, where these are not the same."""


class WrittenInParts(InputError):
    """A value is read that was changed through a view, so that no step of the graph computes it."""


Held = Mapping[fx.Node, Tensor]
"""Values that were written part by part and depend neither on inputs nor on weights, as they are read."""


def redirects(graph: fx.GraphModule, placeholders: Mapping[str, Any]) -> tuple[Redirects, Held]:
    """Return which reads see the value of an in-place operation, and the values that are constants of the program.

    Args:
        graph: The graph.
        placeholders: Value of every placeholder by name; those that are written into are copied first.

    Raises:
        WrittenInParts: A read sees a value that was changed through a view, so that no step computes it.
    """
    if not any(_writes(node) for node in graph.graph.nodes):
        return {}, {}
    watched = _Watched(graph, placeholders)
    with torch.no_grad():
        watched.run()
    return watched.found, watched.held


def place(node: fx.Node) -> str:
    """Return ``aten.copy_ (blocks.0.attn)``: an operation and the innermost module it belongs to."""
    module, kind = module_of(node)
    return f"{operation_name(node)} ({module or kind})"


def operation_name(node: fx.Node) -> str:
    """Return the full name of a node's operation without its overload, e.g. ``aten.copy_``."""
    if isinstance(node.target, torch._ops.OpOverload):
        return f"{node.target.namespace}.{node.target._opname}"
    return str(getattr(node.target, "__name__", node.target))


def module_of(node: fx.Node) -> tuple[str, str]:
    """Return the path of the innermost module that computes a node, empty for the model itself, and its class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return own_name(path), name.rpartition(".")[2]


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable) or isinstance(node.target, torch._ops.HigherOrderOperator)


class _Watched(fx.Interpreter):
    """Runs a graph and compares, at each read, the tensor's version with that of when it was computed."""

    def __init__(self, graph: fx.GraphModule, placeholders: Mapping[str, Any]) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.extra_traceback = False  # it would add lines to the messages
        self._placeholders = placeholders
        self._copied = {source for node in graph.graph.nodes if _writes(node) for source in _origins(node)}
        self._versions: dict[fx.Node, list[int]] = {}
        self._writers: dict[int, fx.Node] = {}
        self._fixed = _fixed(graph)
        self.found: dict[tuple[fx.Node, fx.Node], fx.Node] = {}
        self.held: dict[fx.Node, Tensor] = {}
        self._read: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        for source in n.all_input_nodes:
            seen = self._seen(source, n)
            if seen is not source:
                self.found[n, source] = seen
        before = {source: _versions(self.env[source]) for source in n.all_input_nodes}
        value = self._value(n)
        for source, versions in before.items():
            if _versions(self.env[source]) != versions:
                self._writers.update({_storage(tensor): n for tensor in _tensors(self.env[source])})
        self._versions[n] = _versions(value)
        return value

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            value = self._placeholders[node.name]
            return value.clone() if node in self._copied and isinstance(value, Tensor) else value
        try:
            return super().run_node(node)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"the model's structure cannot be read: {place(node)} does not run: {reason}") from None

    def _seen(self, source: fx.Node, reader: fx.Node) -> fx.Node:
        """Return the node whose value is what `source` holds now."""
        value = self.env[source]
        if _versions(value) == self._versions[source]:
            if isinstance(value, Tensor) and source in self._fixed and not _views(reader):
                self._read.setdefault(source, value.clone())
            return source
        for node in reversed(self._versions):
            if self._versions[node] == _versions(value) and _same_view(self.env[node], value):
                return node
        writer = next((self._writers[key] for key in map(_storage, _tensors(value)) if key in self._writers), reader)
        if self._holds(source, reader, writer, value):
            return source
        raise WrittenInParts(
            f"the model's structure cannot be read: {place(writer)} writes in place into a part of a value that "
            f"{place(reader)} reads"
        )

    def _holds(self, source: fx.Node, reader: fx.Node, writer: fx.Node, value: Any) -> bool:
        """Keep a value that depends on nothing as it is now; say whether it is the same to all that read it.

        Who takes a view of it, as to write into that, does not read it yet.
        """
        if not isinstance(value, Tensor) or source not in self._fixed or writer not in self._fixed:
            return False
        if not torch.equal(self._read.get(source, value), value):
            return False
        self.held[source] = value.clone()
        if not _views(reader):
            self._read[source] = self.held[source]
        return True


def _views(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(returned.alias_info is not None for returned in schema.returns)


def _fixed(graph: fx.GraphModule) -> set[fx.Node]:
    """Return the nodes that depend on no placeholder."""
    found: set[fx.Node] = set()
    for node in graph.graph.nodes:
        if node.op == "call_function" and all(one in found for one in node.all_input_nodes):
            found.add(node)
    return found


def _origins(node: fx.Node) -> set[fx.Node]:
    """Return the placeholders whose memory an operation may write into: along first arguments, which views share."""
    open_, found = list(node.all_input_nodes), set[fx.Node]()
    while open_:
        one = open_.pop()
        if one.op == "placeholder":
            found.add(one)
        elif one.all_input_nodes:
            open_.append(one.all_input_nodes[0])
    return found


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _versions(value: Any) -> list[int]:
    return [tensor._version for tensor in _tensors(value)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same_view(one: Any, other: Any) -> bool:
    def layout(tensor: Tensor) -> tuple[object, ...]:
        return _storage(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype

    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    return layout(one) == layout(other)
