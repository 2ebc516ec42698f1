"""What each operation of a torch.export graph is to us."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from connectivity_hooks.structure.program import Step

Apply = Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor]

ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "log_sigmoid", "abs", "square", "sin", "clamp", "clamp_min",
}  # fmt: skip
POOLS = {
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d",
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


def step_of(node: fx.Node, values: Mapping[fx.Node, str], names: Mapping[str, str], batch: int) -> Step:
    """Return the step that a graph node computes.

    Args:
        node: A ``call_function`` node.
        values: Names of the values computed so far.
        names: Placeholder name to weight name.
        batch: Batch size the graph was traced with.
    """
    operation = _operation(node)
    weight = {arg: names[arg.name] for arg in node.all_input_nodes if arg.name in names}
    reads = tuple(values[arg] for arg in node.all_input_nodes if arg in values)
    shape = tuple(node.meta["val"].shape[1:]) if isinstance(node.meta.get("val"), Tensor) else ()
    common: dict[str, Any] = {
        "name": node.name,
        "inputs": reads,
        "shape": shape,
        "operation": f"aten.{operation}",
        "module": _module(node),
    }
    for recognise in (_affine, _norm, _elementwise, _pool, _flatten, _combined):
        step = recognise(node, operation, weight, common, batch)
        if step is not None:
            return step
    return Step(kind="other", weights={name: name for name in weight.values()}, apply=_replay(node, weight), **common)


def _operation(node: fx.Node) -> str:
    if node.target is operator.getitem:
        return "getitem"
    name = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
    in_place = name.endswith("_") and not name.endswith("__")
    return name[:-1] if in_place else name


def _module(node: fx.Node) -> str:
    """Return the path of the innermost module that computes a node, or the model's class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1]
    return path or str(kind).rpartition(".")[2]


def _bound(node: fx.Node) -> dict[str, Any]:
    """Return the node's arguments by the name its schema gives them, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    given = dict(zip([argument.name for argument in schema.arguments], node.args, strict=False))
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return {**defaults, **given, **node.kwargs}


def _roles(bound: Mapping[str, Any], weight: Mapping[fx.Node, str], roles: Mapping[str, str]) -> dict[str, str]:
    return {role: weight[bound[name]] for role, name in roles.items() if isinstance(bound.get(name), fx.Node)}


Recognised = Step | None


def _affine(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    if operation not in ("linear", "conv1d", "conv2d", "conv3d"):
        return None
    bound = _bound(node)
    roles = {"weight": "weight", "bias": "bias"}
    if not all(not isinstance(bound.get(name), fx.Node) or bound[name] in weight for name in roles.values()):
        return None  # a weight that is itself computed
    if _ndim(bound["input"]) != (2 if operation == "linear" else len(bound["weight"].meta["val"].shape)):
        return None  # neurons are not the first axis after the samples: tokens are, or there are no samples at all
    if operation == "linear":
        apply: Apply = lambda x, w: F.linear(x[0], w["weight"], w.get("bias"))  # noqa: E731
        return Step(kind="affine", weights=_roles(bound, weight, roles), apply=apply, dense=True, **common)
    stride, padding, dilation = (bound[name] for name in ("stride", "padding", "dilation"))
    function = getattr(F, operation)

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
        weights=_roles(bound, weight, roles),
        apply=convolve,
        groups=bound["groups"],
        dense=bound["groups"] == 1 and unpadded and kernel == before,
        **common,
    )


def _norm(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    if operation != "batch_norm":
        return None
    bound = _bound(node)
    if bound["training"] or not isinstance(bound["running_mean"], fx.Node):
        return None
    roles = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

    def apply(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        return F.batch_norm(x[0], w["mean"], w["var"], w.get("weight"), w.get("bias"), False, 0.0, bound["eps"])

    return Step(
        kind="norm",
        weights=_roles(bound, weight, roles),
        apply=apply,
        settings={"eps": bound["eps"]},
        **common,
    )


def _elementwise(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    if weight or len(common["inputs"]) != 1:
        return None
    if operation in IDENTITIES:
        if operation.endswith("dropout") and _bound(node).get("train"):
            return None
        return Step(kind="identity", weights={}, apply=lambda x, w: x[0], **common)
    if operation in ACTIVATIONS:
        return Step(kind="activation", weights={}, apply=_replay(node, {}), **common)
    return None


def _pool(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    spatial_mean = operation == "mean" and _over_space(node)
    if not (spatial_mean or (operation in POOLS and _ndim(node.args[0]) == int(operation[-2]) + 2)):
        return None
    return Step(
        kind="pool",
        weights={},
        apply=_replay(node, {}),
        settings={"linear": "max" not in operation},
        **common,
    )


def _ndim(value: Any) -> int:
    return int(value.meta["val"].ndim) if isinstance(value, fx.Node) else 0


def _over_space(node: fx.Node) -> bool:
    ndim = _ndim(node.args[0])
    dims = _bound(node).get("dim") or []
    return ndim > 2 and sorted(dim % ndim for dim in dims) == list(range(2, ndim))


def _flatten(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    if operation not in RESHAPES and operation != "squeeze":
        return None
    before = node.args[0].meta["val"].shape  # type: ignore[union-attr]
    keeps_rows = len(common["shape"]) == 1 and node.meta["val"].shape[0] == before[0] == batch
    if not keeps_rows or common["shape"][0] != math.prod(before[1:]):
        return None
    return Step(kind="flatten", weights={}, apply=lambda x, w: x[0].flatten(1), **common)


def _combined(
    node: fx.Node, operation: str, weight: Mapping[fx.Node, str], common: dict[str, Any], batch: int
) -> Recognised:
    if weight or len(common["inputs"]) != 2:
        return None
    if len({_ndim(value) for value in node.all_input_nodes}) != 1:
        return None  # broadcasting lays the axes of one beside others of the other
    if operation == "mul":
        return Step(kind="product", weights={}, apply=lambda x, w: x[0] * x[1], **common)
    if operation == "add" and _bound(node).get("alpha", 1) == 1:
        return Step(kind="add", weights={}, apply=lambda x, w: x[0] + x[1], **common)
    return None


def _replay(node: fx.Node, weight: Mapping[fx.Node, str]) -> Apply:
    """Return a function that calls the node's own operation, whatever the strides, and in place of nothing."""
    function: Any = _general(node.target)
    reads = [arg for arg in node.all_input_nodes if arg not in weight]

    def apply(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        values: dict[fx.Node, Any] = dict(zip(reads, x, strict=True)) | {arg: w[name] for arg, name in weight.items()}
        args = fx.node.map_arg(node.args, lambda arg: values[arg])
        kwargs = fx.node.map_arg(node.kwargs, lambda arg: values[arg])
        result: Tensor = function(*args, **kwargs)
        return result

    return apply


def _general(target: Any) -> Any:
    if target is torch.ops.aten.view.default:  # what was contiguous when traced need not be: identities copy nothing
        return torch.ops.aten.reshape.default
    name = getattr(getattr(target, "_schema", None), "name", "")
    if not name.endswith("_") or name.endswith("__"):
        return target
    return getattr(torch.ops.aten, name.removeprefix("aten::")[:-1]).__getattr__(target._overloadname)


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pad(value: Any) -> Any:
    return value if isinstance(value, str) else _tuple(value)
