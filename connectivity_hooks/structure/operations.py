"""What each operation of a torch.export graph is to us."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from connectivity_hooks.structure.program import Step
from connectivity_hooks.structure.replaying import Apply, replay
from connectivity_hooks.structure.writes import Redirects, module_of, operation_name

ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "log_sigmoid", "abs", "square", "sin", "clamp", "clamp_min",
}  # fmt: skip
POOLS = {
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d",
}  # fmt: skip
IDENTITIES = {
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "clone",
    "contiguous",
    "alias",
    "detach",
    "lift_fresh_copy",
}
RESHAPES = {"view", "reshape", "flatten", "_unsafe_view"}


@dataclass(frozen=True)
class Sources:
    """What the nodes of a graph stand for.

    Attributes:
        values: Nodes that are values of steps, or the input, by the value's name.
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

    def read_by(self, node: fx.Node) -> tuple[str, ...]:
        """Return the names of the values that a node reads, in the order of its arguments."""
        seen = [(arg, self.redirects.get((node, arg), arg)) for arg in node.all_input_nodes]
        return tuple(self.values[value] for arg, value in seen if arg in self.values)


@dataclass(frozen=True)
class _Read:
    """A node as the recognisers see it.

    Attributes:
        node: The node.
        operation: Its name without namespace and trailing underscore; empty where it is none of PyTorch's own.
        weight: Its arguments that are weights, by their names.
        steady: Whether it reads weights alone besides its values: no constants.
        common: The fields that every step has.
        batch: Batch size the graph was traced with.
    """

    node: fx.Node
    operation: str
    weight: Mapping[fx.Node, str]
    steady: bool
    common: dict[str, Any]
    batch: int

    @property
    def inputs(self) -> int:
        return len(self.common["inputs"])

    @property
    def bare(self) -> bool:
        """Whether it reads values only."""
        return not self.weight and self.steady


def step_of(node: fx.Node, sources: Sources, batch: int) -> Step:
    """Return the step that a graph node computes.

    Args:
        node: A ``call_function`` node.
        sources: What the nodes before it stand for.
        batch: Batch size the graph was traced with.
    """
    weight = {arg: sources.weights[arg] for arg in node.all_input_nodes if arg in sources.weights}
    constants = {arg: arg.name for arg in node.all_input_nodes if arg in sources.constants}
    value = node.meta.get("val")
    path, kind = module_of(node)
    common: dict[str, Any] = {
        "name": node.name,
        "inputs": sources.read_by(node),
        "shape": tuple(value.shape[1:]) if isinstance(value, Tensor) else (),
        "operation": _without_underscore(operation_name(node)),
        "module": path or kind,
        "module_kind": kind,
    }
    read = _Read(node, _aten(node), weight, not constants, common, batch)
    if isinstance(value, Tensor):
        for recognise in (_affine, _norm, _elementwise, _pool, _flatten, _combined):
            step = recognise(read)
            if step is not None:
                return step
    return Step(
        kind="other",
        weights={name: name for name in weight.values()},
        constants={role: sources.constants[arg] for arg, role in constants.items()},
        apply=replay(node, {**weight, **constants}, sources.objects),
        **common,
    )


def _aten(node: fx.Node) -> str:
    """Return the name of PyTorch's own operations; another library's may have the same name and mean another thing."""
    name, target = operation_name(node), node.target
    if not isinstance(target, torch._ops.OpOverload) or not name.startswith("aten."):
        return ""
    if any(argument.is_out for argument in target._schema.arguments):
        return ""  # one argument more, which it writes into
    return _without_underscore(name).removeprefix("aten.")


def _without_underscore(name: str) -> str:
    in_place = name.endswith("_") and not name.endswith("__")
    return name[:-1] if in_place else name


def _bound(node: fx.Node) -> dict[str, Any]:
    """Return the node's arguments by the name its schema gives them, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    given = dict(zip([argument.name for argument in schema.arguments], node.args, strict=False))
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return {**defaults, **given, **node.kwargs}


Recognised = Step | None


def _roles(read: _Read, bound: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, str] | None:
    """Return role to weight name; None if an argument is computed, or no weight."""
    given = {role: bound[name] for role, name in roles.items() if isinstance(bound.get(name), fx.Node)}
    if any(node not in read.weight for node in given.values()):
        return None
    return {role: read.weight[node] for role, node in given.items()}


def _affine(read: _Read) -> Recognised:
    if read.operation not in ("linear", "conv1d", "conv2d", "conv3d") or read.inputs != 1:
        return None
    bound = _bound(read.node)
    weights = _roles(read, bound, {"weight": "weight", "bias": "bias"})
    if weights is None or "weight" not in weights:
        return None  # a weight that is itself computed, or weights as inputs
    if _axes(bound["input"]) != (2 if read.operation == "linear" else _axes(bound["weight"])):
        return None  # neurons are not the first axis after the samples: tokens are, or there are no samples at all
    if read.operation == "linear":
        apply: Apply = lambda x, w: F.linear(x[0], w["weight"], w.get("bias"))  # noqa: E731
        return Step(kind="affine", weights=weights, apply=apply, dense=True, **read.common)
    return _convolution(read, bound, weights)


def _convolution(read: _Read, bound: Mapping[str, Any], weights: Mapping[str, str]) -> Recognised:
    stride, padding, dilation = (bound[name] for name in ("stride", "padding", "dilation"))
    function = getattr(F, read.operation)

    def convolve(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        groups = x[0].shape[1] // w["weight"].shape[1]
        result: Tensor = function(
            x[0], w["weight"], w.get("bias"), _tuple(stride), _pad(padding), _tuple(dilation), groups
        )
        return result

    kernel, before = bound["weight"].meta["val"].shape[2:], bound["input"].meta["val"].shape[2:]
    unpadded = padding == "valid" or all(pad == 0 for pad in _many(padding))
    return Step(
        kind="affine",
        weights=weights,
        apply=convolve,
        groups=bound["groups"],
        dense=bound["groups"] == 1 and unpadded and kernel == before,
        **read.common,
    )


def _norm(read: _Read) -> Recognised:
    if read.operation != "batch_norm" or read.inputs != 1:
        return None
    bound = _bound(read.node)
    if bound["training"] or not isinstance(bound["running_mean"], fx.Node):
        return None
    weights = _roles(read, bound, {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"})
    if weights is None:
        return None

    def apply(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        return F.batch_norm(x[0], w["mean"], w["var"], w.get("weight"), w.get("bias"), False, 0.0, bound["eps"])

    return Step(
        kind="norm",
        weights=weights,
        apply=apply,
        settings={"eps": bound["eps"]},
        **read.common,
    )


def _elementwise(read: _Read) -> Recognised:
    if not read.bare or read.inputs != 1:
        return None
    if read.operation in IDENTITIES:
        if read.operation.endswith("dropout") and _bound(read.node).get("train"):
            return None
        return Step(kind="identity", weights={}, apply=lambda x, w: x[0], **read.common)
    if read.operation in ACTIVATIONS:
        return Step(kind="activation", weights={}, apply=replay(read.node, {}, {}), **read.common)
    return None


def _pool(read: _Read) -> Recognised:
    pools = read.operation in POOLS and _axes(read.node.args[0]) == int(read.operation[-2]) + 2
    spatial_mean = read.operation == "mean" and _over_space(read.node)
    if not read.bare or read.inputs != 1 or not (pools or spatial_mean):
        return None  # also a value without an axis of channels, whose neurons would be pooled
    return Step(
        kind="pool",
        weights={},
        apply=replay(read.node, {}, {}),
        settings={"linear": "max" not in read.operation},
        **read.common,
    )


def _axes(value: Any) -> int:
    """Return the axes of a tensor; 0 for a number, also one that is read from a tensor (``x.mean().item()``)."""
    known = value.meta.get("val") if isinstance(value, fx.Node) else None
    return int(known.ndim) if isinstance(known, Tensor) else 0


def _over_space(node: fx.Node) -> bool:
    ndim = _axes(node.args[0])
    dims = _bound(node).get("dim") or []
    return ndim > 2 and sorted(dim % ndim for dim in dims) == list(range(2, ndim))


def _flatten(read: _Read) -> Recognised:
    if read.operation not in RESHAPES and read.operation != "squeeze":
        return None
    if not read.bare or read.inputs != 1:
        return None
    shape, before = read.common["shape"], read.node.args[0].meta["val"].shape  # type: ignore[union-attr]
    keeps_rows = len(shape) == 1 and read.node.meta["val"].shape[0] == before[0] == read.batch
    if not keeps_rows or shape[0] != math.prod(before[1:]):
        return None
    return Step(kind="flatten", weights={}, apply=lambda x, w: x[0].flatten(1), **read.common)


def _combined(read: _Read) -> Recognised:
    if not read.bare or read.inputs != 2:
        return None
    one, other = (_axes(arg) for arg in read.node.all_input_nodes)
    if one != other:
        return None  # the shorter one is stretched along the wrong axes: its neurons are not the other's
    if read.operation == "mul":
        return Step(kind="product", weights={}, apply=lambda x, w: x[0] * x[1], **read.common)
    if read.operation == "add" and _bound(read.node).get("alpha", 1) == 1:
        return Step(kind="add", weights={}, apply=lambda x, w: x[0] + x[1], **read.common)
    return None


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pad(value: Any) -> Any:
    return value if isinstance(value, str) else _tuple(value)
