"""Which layers of a Transformers model to look at."""

from __future__ import annotations

from torch import nn

_BLOCKS = "blocks"  # of a stage that gives its maps before and after they are made smaller (Swin): its blocks give one
_PARAMETRIZATIONS = "parametrizations"  # where PyTorch keeps what weights are computed from, in lists as well


def block_layers(model: nn.Module) -> tuple[str, ...] | None:
    """Return the blocks of a model, then what enters its last linear map; None for a model that has no blocks.

    Blocks are the entries of its outermost `ModuleList`, or of an entry that is a stage and has a list ``blocks``, that
    list's; the linear map is the head where it lies behind them. The core's own rule would name what enters an
    embedding: token numbers, which are no features.
    """
    lists = [
        f"{name}."
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and _PARAMETRIZATIONS not in name.split(".")
    ]
    outermost = [name for name in lists if not any(name != other and name.startswith(other) for other in lists)]
    entries = [f"{name}{child}" for name in outermost for child, _ in model.get_submodule(name[:-1]).named_children()]
    blocks = [block for entry in entries for block in _blocks(entry, model.get_submodule(entry))]
    if not blocks:
        return None
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
    head = [f"{name}:input" for name in last if not name.startswith(tuple(outermost))]
    return (*blocks, *head)


def _blocks(name: str, entry: nn.Module) -> list[str]:
    inside = getattr(entry, _BLOCKS, None)
    if isinstance(inside, nn.ModuleList) and len(inside):
        return [f"{name}.{_BLOCKS}.{child}" for child, _ in inside.named_children()]
    return [name]
