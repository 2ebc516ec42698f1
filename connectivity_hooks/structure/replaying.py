"""Calling a graph node's own operation again, on other values and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

Apply = Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]


def replay(node: fx.Node, roles: Mapping[fx.Node, str], objects: Mapping[fx.Node, object]) -> Apply:
    """Return a function that calls the node's own operation, whatever the strides, and in place of nothing.

    Args:
        node: The node.
        roles: Its arguments that are weights or constants, by the role they are given in.
        objects: Its arguments that are no tensors, such as the graph of a block.
    """
    function: Any = _general(node.target)
    reads = [arg for arg in node.all_input_nodes if arg not in roles and arg not in objects]

    def apply(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        values: dict[fx.Node, Any] = dict(zip(reads, x, strict=True))
        values.update({arg: w[role] for arg, role in roles.items()})
        values.update({arg: objects[arg] for arg in node.all_input_nodes if arg in objects})
        args = fx.node.map_arg(node.args, lambda arg: values[arg])
        kwargs = fx.node.map_arg(node.kwargs, lambda arg: values[arg])
        result: Tensor = function(*args, **kwargs)
        return result

    return apply


def _general(target: Any) -> Any:
    if target is torch.ops.aten.view.default:  # what was contiguous when traced need not be: identities copy nothing
        return torch.ops.aten.reshape.default
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return target
    return _functional(target, schema)


def _functional(target: Any, schema: Any) -> Any:
    """Return the operation without its side effect: its functional twin, or the operation on copies."""
    twin = getattr(torch.ops.aten, schema.name.removeprefix("aten::").removesuffix("_"), None)
    overload = getattr(twin, target._overloadname, None)
    if schema.name.startswith("aten::") and overload is not None and not overload._schema.is_mutable:
        return overload

    names = [argument.name for argument in schema.arguments]
    written = {argument.name for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write}

    def on_copies(*args: Any, **kwargs: Any) -> Any:
        given = [_copied(value) if name in written else value for name, value in zip(names, args, strict=False)]
        return target(*given, **{name: _copied(value) if name in written else value for name, value in kwargs.items()})

    return on_copies


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
