"""What each operation of a torch.export graph is to us: one row for each.

What has no row, or does not pass its row's conditions, is an ``other`` step. Proofs rest on these rows: a kind may be
given only to what acts as `Step` says of it, with neurons on the axis after the samples, whatever the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from connectivity_hooks.structure.operations import affine, norm, pointwise, pool
from connectivity_hooks.structure.operations.call import Call
from connectivity_hooks.structure.operations.flatten import flatten
from connectivity_hooks.structure.program import Step

Recogniser: TypeAlias = Callable[[Call], Step | None]

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "log_sigmoid", "abs", "square", "sin", "clamp", "clamp_min",
)  # fmt: skip
IDENTITIES = ("clone", "contiguous", "alias", "detach", "lift_fresh_copy")
DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout")
POOLS = (
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d",
)  # fmt: skip
RESHAPES = ("view", "reshape", "flatten", "_unsafe_view", "squeeze")

RECOGNISERS: Mapping[str, Recogniser] = MappingProxyType(
    {
        "linear": affine.linear,
        "conv1d": affine.convolution,
        "conv2d": affine.convolution,
        "conv3d": affine.convolution,
        "batch_norm": norm.batch_norm,
        "add": pointwise.addition,
        "mul": pointwise.product,
        "mean": pool.mean,
        **dict.fromkeys(ACTIVATIONS, pointwise.activation),
        **dict.fromkeys(IDENTITIES, pointwise.identity),
        **dict.fromkeys(DROPOUTS, pointwise.dropout),
        **dict.fromkeys(POOLS, pool.pool),
        **dict.fromkeys(RESHAPES, flatten),
    }
)
"""PyTorch's own operations by name, without namespace and the underscore of those that write in place."""


def step_of(call: Call) -> Step:
    """Return the step that a graph node computes."""
    recognise = RECOGNISERS.get(call.operation) if call.gives_a_tensor else None
    return (recognise(call) if recognise else None) or call.other()
