"""Which modules keep running statistics of their inputs, which training measured at both ends and nowhere between."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin


def tracked_norms(model: nn.Module) -> dict[str, _NormBase]:
    """Return the batch and instance norms that keep running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and not isinstance(module, LazyModuleMixin) and statistics_of(module)
    }


def statistics_of(norm: _NormBase) -> list[Tensor]:
    """Return the running mean and variance of a norm that keeps them; nothing of one that does not."""
    kept = (norm.running_mean, norm.running_var) if norm.track_running_stats else ()
    return [tensor for tensor in kept if tensor is not None]
