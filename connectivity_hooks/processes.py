"""Several processes: which of them watches, and which weights one process alone cannot look at."""

from __future__ import annotations

import torch
from torch import nn

from connectivity_hooks.errors import UsageError

_SHARDING = {"FSDPModule", "FullyShardedDataParallel"}


def is_main_process() -> bool:
    """Say whether this is the only process, or the first of several. Nothing is communicated."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def refuse_sharded(model: nn.Module, purpose: str) -> None:
    """Raise `UsageError` when the weights are spread over processes.

    One process that runs or gathers them alone would wait for the others forever.
    """
    for name, module in model.named_modules():
        if _SHARDING & {kind.__name__ for kind in type(module).__mro__}:
            raise UsageError(_refusal(name or type(module).__name__, "is sharded by FSDP", purpose))
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "full_tensor"):
            raise UsageError(_refusal(name, "is a DTensor, spread over processes", purpose))


def _refusal(name: str, fault: str, purpose: str) -> str:
    return (
        f"{name} {fault}: {purpose} on one process would wait for the others forever; watch with mode='training', or "
        "check checkpoints afterwards with connectivity-hooks check"
    )
