"""Which parts of a module are gathered, run and let go of one after the other, where it is spread over processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn

_WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict)
_CONTAINERS = (nn.Sequential, *_WITHOUT_FORWARD)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a module, innermost first: what stands in its outermost containers, and odd types.

    A block has its parameters for itself: one that is tied to something outside stays with the whole module.

    Args:
        model: The module; itself no block.
    """
    uses = Counter(id(parameter) for _, parameter in _placed(model))
    found = {id(block): block for block in _in_containers(model)}
    found = {key: block for key, block in found.items() if _is_apart(block, uses)}
    odd = {
        id(module): module
        for owner in (*found.values(), model)
        for module in _of_another_type(owner, set(found))
        if module is not model and _is_apart(module, uses)
    }
    return [*odd.values(), *(block for key, block in found.items() if key not in odd)]


def _in_containers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what stands in containers and is none."""
    for child in module.children():
        if isinstance(module, _CONTAINERS) and not isinstance(child, _CONTAINERS):
            yield child
        else:
            yield from _in_containers(child)


def _is_apart(module: nn.Module, uses: Counter[int]) -> bool:
    """Say whether a module has parameters, and all places that have them are inside it."""
    own = Counter(id(parameter) for _, parameter in _placed(module))
    return bool(own) and all(uses[key] == count for key, count in own.items())


def _of_another_type(owner: nn.Module, blocks: set[int]) -> Iterator[nn.Module]:
    """Yield modules whose own parameters are not of the type of most: FSDP spreads parameters of one type together."""
    inside = [module for module in owner.modules() if module is owner or id(module) not in blocks]
    types = {id(module): {each.dtype for each in module.parameters(recurse=False)} for module in inside}
    counted = Counter[torch.dtype](dtype for each in types.values() for dtype in each)
    if len(counted) > 1:
        (most, _), *_ = counted.most_common(1)
        yield from (m for m in inside if types[id(m)] and types[id(m)] != {most})


def _placed(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return module.named_parameters(remove_duplicate=False)
