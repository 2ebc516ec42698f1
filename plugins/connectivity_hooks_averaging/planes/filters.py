"""What a filter is: the weights that make one output, by the kind of the module that has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import ParametrizationList

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NAMED_NORM = re.compile(r"norm(\dd)?$|grn$", re.IGNORECASE)


@dataclass(frozen=True)
class Filters:
    """How the filters of a parameter lie in it.

    Attributes:
        axis: The one that counts them.
        groups: Into how many parts the first axis is cut, each of which has filters of its own: of a transposed
            convolution in groups, whose weight is (inputs, outputs of a group, …).
    """

    axis: int
    groups: int = 1

    def scaled(self, drawn: Tensor, weight: Tensor) -> Tensor:
        """Return what was drawn, each filter as long as that of the weight, of the same shape."""
        parts = [each.unflatten(0, (self.groups, -1)) for each in (weight, drawn)]
        others = [each for each in range(1, parts[0].ndim) if each != self.axis + 1]
        lengths = [torch.linalg.vector_norm(each, dim=others, keepdim=True) for each in parts]
        scaled: Tensor = parts[1] * (lengths[0] / lengths[1].clamp_min(1e-300))
        return scaled.reshape(weight.shape)


def filters_of(model: nn.Module) -> dict[str, Filters]:
    """Return the filters of each parameter that has some, of tied ones by the first name.

    They are slices along the first axis: a channel of a convolution, a neuron of a linear layer, a row of an embedding,
    and of any other parameter with two axes or more. Of transposed convolutions and of Transformers' ``Conv1D``, which
    have their outputs on the second axis, they are slices along that.
    None have the parameters of norms (PyTorch's, and modules whose class is called ``…Norm`` or ``…GRN``), biases
    (parameters called so), lengths ``g`` that weight norm takes apart, and what has fewer than two axes. Under a
    parametrization it is the tensor beneath that has them, which lies as the weight does.
    """
    found = dict[str, Filters]()
    for name, each in model.named_parameters():
        if not each.is_floating_point() or each.ndim < 2 or each.numel() == 0:
            continue
        owner, own, is_length = _stored(model, name)
        if not (is_length or _is_norm(owner) or "bias" in own.split("_")):
            found[name] = _along(owner, own, each)
    return found


def _stored(model: nn.Module, name: str) -> tuple[nn.Module, str, bool]:
    """Return whose parameter it is, what it is called there without a parametrization, and whether it is a ``g``."""
    prefix, _, own = name.rpartition(".")
    module = model.get_submodule(prefix)
    if isinstance(module, ParametrizationList):
        above, _, own_above = prefix.rpartition("parametrizations.")
        taken_apart = any(type(each).__name__ == "_WeightNorm" for each in module)
        return model.get_submodule(above.rstrip(".")), own_above, taken_apart and own == "original0"
    stem, _, part = own.rpartition("_")
    if part in ("g", "v") and {f"{stem}_g", f"{stem}_v"} <= module._parameters.keys():  # the older weight norm
        return module, stem, part == "g"
    return module, stem if part == "orig" else own, False  # the older spectral norm, and pruning


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or any(_NAMED_NORM.search(each.__name__) for each in type(module).__mro__)


def _along(owner: nn.Module, own: str, weight: Tensor) -> Filters:
    if own == "weight" and isinstance(owner, _ConvNd) and owner.transposed:
        return Filters(1, owner.groups)
    if own == "weight" and weight.ndim == 2 and any(each.__name__ == "Conv1D" for each in type(owner).__mro__):
        bias = getattr(owner, "bias", None)
        return Filters(1 if bias is None or tuple(bias.shape) == weight.shape[1:] else 0)
    return Filters(0)
