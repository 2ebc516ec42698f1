"""Which layers of a Transformers model to look at."""

from __future__ import annotations

from torch import nn


def block_layers(model: nn.Module) -> tuple[str, ...] | None:
    """Return the blocks of a model, then what enters its last linear map; None for a model that has no blocks.

    Blocks are the entries of its outermost `ModuleList`; the linear map is the head where it lies behind them. The
    core's own rule would name what enters an embedding: token numbers, which are no features.
    """
    lists = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)]
    outermost = [name for name in lists if not any(name != other and name.startswith(other) for other in lists)]
    blocks = [f"{name}{child}" for name in outermost for child, _ in model.get_submodule(name[:-1]).named_children()]
    if not blocks:
        return None
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
    head = [f"{name}:input" for name in last if not name.startswith(tuple(outermost))]
    return (*blocks, *head)
