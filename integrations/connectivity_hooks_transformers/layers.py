"""Which layers of a Transformers model to look at."""

from __future__ import annotations

from torch import nn


def block_layers(model: nn.Module) -> tuple[str, ...] | None:
    """Return the blocks of a model, then what enters its last linear map; None for a model that has no blocks.

    Blocks are the entries of its outermost `ModuleList`; the linear map is the head where it lies behind them. The
    core's own rule would name what enters an embedding: token numbers, which are no features. Of a stage that is a list
    of blocks with something behind them (Swin's gives back two tensors) the last block is taken.
    """
    lists = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)]
    outermost = [name for name in lists if not any(name != other and name.startswith(other) for other in lists)]
    entries = [(name, *entry) for name in outermost for entry in model.get_submodule(name[:-1]).named_children()]
    blocks = [f"{name}{child}{_last_block(module)}" for name, child, module in entries]
    if not blocks:
        return None
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
    head = [f"{name}:input" for name in last if not name.startswith(tuple(outermost))]
    return (*blocks, *head)


def _last_block(stage: nn.Module) -> str:
    blocks = getattr(stage, "blocks", None)
    return f".blocks.{len(blocks) - 1}" if isinstance(blocks, nn.ModuleList) and len(blocks) else ""
