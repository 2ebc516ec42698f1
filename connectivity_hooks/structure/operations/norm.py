"""Norms that act neuron by neuron: batch norm with its stored statistics."""

from __future__ import annotations

from torch import fx
from torch.nn import functional as F

from connectivity_hooks.structure.operations.call import Call
from connectivity_hooks.structure.program import Step


def batch_norm(call: Call) -> Step | None:
    """Recognise a batch norm in evaluation mode whose statistics are weights of the model."""
    given = call.arguments
    if len(call.inputs) != 1 or given["training"] or not isinstance(given["running_mean"], fx.Node):
        return None
    weights = call.roles({"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"})
    if weights is None:
        return None
    eps = float(given["eps"])
    return call.known(
        "norm",
        lambda x, w: F.batch_norm(x[0], w["mean"], w["var"], w.get("weight"), w.get("bias"), False, 0.0, eps),
        weights=weights,
        eps=eps,
    )
