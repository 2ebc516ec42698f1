"""The hooks a capture puts on modules: each listens to one module, outside compiled code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from connectivity_hooks.features.outputs import Passed

_REASON = (
    "connectivity_hooks captures features outside compiled code: compile without fullgraph=True, or capture from the "
    "uncompiled module in evaluation mode"
)
HAS_REASON = "reason" in inspect.signature(torch.compiler.disable).parameters  # torch 2.7 and later
eager: Callable[..., Any] = (
    functools.partial(torch.compiler.disable, reason=_REASON) if HAS_REASON else torch.compiler.disable
)


class Detached:
    """What is left of a capture in a pickled model: nothing is listened to."""

    def _begin(self, inputs: Any) -> None:
        pass

    def _end(self, completed: bool) -> None:
        pass

    def _catch(self, layer: str, module: nn.Module, value: object) -> None:
        pass

    _active = False
    paused = False


class Hook:
    """A hook that listens to one module for one capture, and to no copy of either."""

    def __init__(self, owner: Any, module: nn.Module, layer: str = "") -> None:
        self.owner = owner
        self.module = module
        self.layer = layer

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return self


@contextmanager
def captures_paused(model: nn.Module) -> Iterator[None]:
    """Let the block's passes by every capture that listens to `model`; one that is put on inside the block listens."""
    hooks: list[Any] = []
    for module in model.modules():
        hooks += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    owners = {id(hook.owner): hook.owner for hook in hooks if isinstance(hook, Hook)}
    before = {key: owner.paused for key, owner in owners.items()}
    for owner in owners.values():
        owner.paused = True
    try:
        yield
    finally:
        for key, owner in owners.items():
            owner.paused = before[key]


class Begin(Hook):
    """Marks where a forward pass of the whole model begins."""

    @eager
    def __call__(self, module: nn.Module, inputs: Any, named: Any) -> None:
        """Tell the capture that a pass begins, and what was given."""
        if module is self.module:
            self.owner._begin([*inputs, *named.values()])


class End(Hook):
    """Marks where it ends; the output is None when it failed."""

    @eager
    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Tell the capture that it ended, and whether it was completed."""
        if module is self.module:
            self.owner._end(completed=output is not None)


class Leaving(Hook):
    """Catches what a module puts out."""

    @eager
    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """Hand the output to the capture, and the first input beside it."""
        if self.owner._active and module is self.module:
            self.owner._catch(self.layer, module, Passed(output, next(iter((*inputs, *named.values())), None)))


class Entering(Hook):
    """Catches what enters a module."""

    @eager
    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Hand the first input to the capture."""
        if self.owner._active and module is self.module:
            self.owner._catch(self.layer, module, [*inputs, *named.values()][:1])
