"""Several processes: which of them this is, which one watches, and which weights one alone cannot look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from connectivity_hooks.errors import UsageError

_SHARDING = {"FSDPModule", "FullyShardedDataParallel"}


@dataclass(frozen=True)
class Place:
    """Which of several processes this is.

    Attributes:
        rank: From 0.
        count: Of processes.
        local: From 0 among those of one machine: the number of its GPU.
    """

    rank: int = 0
    count: int = 1
    local: int = 0


_taken = [Place()]
"""The place this program works in: that of the only process, until it was started as one of several."""


def started_place(environment: Mapping[str, str]) -> Place:
    """Return which process the environment says this is, as ``torchrun`` and its like set it; the only one without.

    Raises:
        UsageError: It names several, and not which one this is or where they meet.
    """
    if environment.get("WORLD_SIZE", "1").strip() in ("", "1"):
        return Place()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise UsageError(f"WORLD_SIZE is set, {' and '.join(missing)} is not; start several processes with torchrun")
    rank, count = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not rank < count:
        raise UsageError(f"RANK: expected less than WORLD_SIZE, found {rank} of {count}")
    return Place(rank, count, _number(environment, "LOCAL_RANK"))


def take_place(place: Place) -> None:
    """Let this program be one of several, of which only the first writes."""
    _taken[0] = place


def is_main_process() -> bool:
    """Say whether this is the only process, or the first of several. Nothing is communicated."""
    distributed = torch.distributed
    first = not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
    return first and _taken[0].rank == 0


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


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "0").strip()
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}: expected a number of a process, found {text[:20]!r}; start them with torchrun")
    return int(text)
