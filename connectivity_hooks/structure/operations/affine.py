"""Linear maps and convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.structure.operations.call import Call, axes_of
from connectivity_hooks.structure.program import Step


def linear(call: Call) -> Step | None:
    """Recognise a linear map of neurons by weights of the model."""
    weights = _weights(call, axes=2)
    if weights is None:
        return None
    return call.known("affine", lambda x, w: F.linear(x[0], w["weight"], w.get("bias")), weights=weights, dense=True)


def convolution(call: Call) -> Step | None:
    """Recognise a convolution by weights of the model, of any groups."""
    given = call.arguments
    weights = _weights(call, axes=axes_of(given["weight"]))
    if weights is None:
        return None
    stride, padding, dilation = (_plain(given[name]) for name in ("stride", "padding", "dilation"))
    function = getattr(F, call.operation)

    def convolve(x: Sequence[Tensor], w: Mapping[str, Tensor]) -> Tensor:
        groups = x[0].shape[1] // w["weight"].shape[1]
        result: Tensor = function(x[0], w["weight"], w.get("bias"), stride, padding, dilation, groups)
        return result

    kernel, before = given["weight"].meta["val"].shape[2:], given["input"].meta["val"].shape[2:]
    unpadded = padding == "valid" or all(pad == 0 for pad in (padding if isinstance(padding, tuple) else [padding]))
    dense = given["groups"] == 1 and unpadded and kernel == before
    return call.known("affine", convolve, weights=weights, groups=given["groups"], dense=dense)


def _weights(call: Call, axes: int) -> dict[str, str] | None:
    """Return the roles of a map's weights; None where they are computed or neurons are not the axis after the samples.

    A linear map of tokens has its neurons last, and a map of one sample has no samples at all.
    """
    if len(call.inputs) != 1 or axes_of(call.arguments["input"]) != axes:
        return None
    weights = call.roles({"weight": "weight", "bias": "bias"})
    return weights if weights and "weight" in weights else None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (tuple, list)) else value
