"""Linear maps and convolutions: which axis of their outputs counts the channels, and how a map of them is fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

_LOOSE, _LOOSEST = 10, 0.1
"""Two roundings of a layer differ by less than ten square roots of an epsilon, another function by its outputs."""


@dataclass(frozen=True)
class Layer:
    """A module that maps its inputs linearly and adds a bias for each channel.

    Attributes:
        name: Its dotted name.
        module: The module.
        rows: The axis of its weight that counts the channels it puts out; of a transposed convolution those of a group.
    """

    name: str
    module: nn.Module
    rows: int

    @property
    def weight(self) -> Tensor | None:
        """The weight, where it is the module's own parameter and not computed from others at every pass."""
        return dict(self.module.named_parameters(recurse=False)).get("weight")

    @property
    def bias(self) -> Tensor | None:
        """The bias likewise."""
        return dict(self.module.named_parameters(recurse=False)).get("bias")

    @property
    def is_square(self) -> bool:
        """Whether a matrix of a class of its own may have rows for its outputs, or columns."""
        weight = self.weight
        if weight is None or isinstance(self.module, (_ConvNd, nn.Linear, nn.Bilinear)):
            return False
        return weight.shape[0] == weight.shape[1]

    def turned(self) -> Layer:
        """Return it with the other axis of a matrix for the rows, as a module of one's own may have them."""
        return replace(self, rows=1 - self.rows)

    def axis(self, outputs: Tensor) -> int:
        """Return the axis of its outputs that counts the channels."""
        positions = len(self.module.kernel_size) if isinstance(self.module, _ConvNd) else 0
        return outputs.ndim - 1 - positions

    def values(self, outputs: Tensor) -> Tensor:
        """Return its outputs as (R, C): samples and positions, and channels."""
        return outputs.movedim(self.axis(outputs), -1).flatten(0, -2) if outputs.ndim > 1 else outputs[None]

    def mapped(self, outputs: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        """Return its outputs, each channel times its factor plus its shift, in their own type."""
        shape = [1] * outputs.ndim
        shape[self.axis(outputs)] = -1
        return torch.addcmul(shift.to(outputs.dtype).view(shape), outputs, factor.to(outputs.dtype).view(shape))

    @torch.no_grad()
    def fuse(self, factor: Tensor, shift: Tensor) -> None:
        """Write weights into the module under which it puts out factor · x + shift instead of x.

        Args:
            factor: (C,) float64.
            shift: (C,) float64.

        Raises:
            ValueError: It has no bias or no weight of its own.
        """
        weight, bias = self.weight, self.bias
        if weight is None or bias is None:
            raise ValueError(f"{self.name}: expected a weight and a bias of its own")
        weight.copy_(self._scaled(weight.double(), factor))
        bias.copy_(bias.double() * factor + shift)

    def _scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        shape = [1] * weight.ndim
        shape[self.rows] = -1
        if not (isinstance(self.module, _ConvNd) and self.module.transposed):
            return weight * factor.view(shape)
        # (inputs, outputs of a group, …): the inputs of group g give the outputs of group g, which are counted anew.
        groups = self.module.groups
        parts = zip(weight.chunk(groups), factor.chunk(groups), strict=True)
        return torch.cat([part * each.view(shape) for part, each in parts])


def linear_layers(model: nn.Module) -> dict[str, Layer]:
    """Return the modules that look like a linear map or a convolution, by name; `is_affine` says whether one is.

    They are PyTorch's own and what derives from them, and modules of other classes that have no modules inside, a
    ``weight``, and a ``bias`` of one value for each row or column of it (the ``Conv1D`` of GPT-2).
    """
    found = {}
    for name, module in model.named_modules():
        rows = _rows(module)
        if rows is not None:
            found[name] = Layer(name, module, rows)
    return found


def _rows(module: nn.Module) -> int | None:
    if isinstance(module, torch.jit.ScriptModule):
        return None  # its parts run outside of Python, and take no hooks
    if isinstance(module, _ConvNd):
        return 1 if module.transposed else 0
    if isinstance(module, (nn.Linear, nn.Bilinear)):
        return 0
    own = dict(module.named_parameters(recurse=False))
    weight, bias = own.get("weight"), own.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.ndim != 1 or next(module.children(), None):
        return None
    return next((axis for axis in (0, 1) if weight.shape[axis] == len(bias)), None)


@torch.no_grad()
def is_affine(layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether a layer does what `Layer.fuse` promises, by trying it on some inputs; its weights stay as they are.

    A convolution that standardises its weight, or a linear map with an adapter beside it, does not.
    """
    weight, bias = layer.weight, layer.bias
    if weight is None or bias is None:
        return False
    kept = weight.clone(), bias.clone()
    before = layer.module.forward(*args, **kwargs)
    if not isinstance(before, Tensor) or not before.is_floating_point() or before.is_nested:
        return False
    axis = layer.axis(before)
    if axis < 0 or before.shape[axis] != len(bias) or not before.isfinite().all():
        return False
    strange = not type(layer.module).__module__.startswith("torch.nn.modules.")
    if strange and not (layer.values(before) != layer.values(before)[:1]).any():
        return False  # it puts out its bias alone, so that nothing shows what its weight does
    size = (float(before.abs().max()) if before.numel() else 0.0) or 1.0
    factor = torch.linspace(0.5, 2.0, len(bias), dtype=torch.float64, device=before.device)
    shift = size * factor.flip(0)
    try:
        layer.fuse(factor, shift)
        after = layer.module.forward(*args, **kwargs).double()
    finally:
        weight.copy_(kept[0])
        bias.copy_(kept[1])
    allowed = min(_LOOSE * torch.finfo(before.dtype).eps ** 0.5, _LOOSEST) * size
    return bool(((after - layer.mapped(before.double(), factor, shift)).abs() <= allowed).all())
