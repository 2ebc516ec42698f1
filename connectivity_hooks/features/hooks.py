"""The hooks a capture puts on modules: each tells one listener of one module, outside compiled code."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from connectivity_hooks.features.outputs import Passed
from connectivity_hooks.features.select import INPUT

_REASON = (
    "connectivity_hooks captures features outside compiled code: compile without fullgraph=True, or capture from the "
    "uncompiled module in evaluation mode"
)
HAS_REASON = "reason" in inspect.signature(torch.compiler.disable).parameters  # torch 2.7 and later


def eager(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, kept out of compiled code. The first call imports PyTorch's compiler, which takes seconds."""
    said: dict[str, Any] = {"reason": _REASON} if HAS_REASON else {}
    kept_out: Callable[..., Any] = torch.compiler.disable(function, **said)
    return kept_out


class Listener(ABC):
    """What hooks tell of forward passes: `begin`, `caught` for every layer that is reached, `end`.

    Copies of a model carry its hooks along: they go on referring to this listener and tell it nothing. A pickled model
    leaves it behind.

    Attributes:
        paused: Whether passes are let by; may be set at any time between them.
        active: Whether what is caught in the pass under way is wanted.
    """

    paused: bool = False
    active: bool = False

    @abstractmethod
    def begin(self, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Be told that a pass of the whole model begins, and what the model was given, in order and by name."""

    @abstractmethod
    def caught(self, layer: str, module: nn.Module, value: object) -> None:
        """Be told what `module` put out, a `Passed`, or what entered it, a list of one."""

    @abstractmethod
    def end(self, *, completed: bool) -> None:
        """Be told that the pass ended, and whether with an output."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Listener:
        return self

    def __reduce__(self) -> tuple[Callable[[], Listener], tuple[()]]:
        return Detached, ()


class Detached(Listener):
    """What is left of a capture in a pickled model: nothing is listened to."""

    def begin(self, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Do nothing."""

    def caught(self, layer: str, module: nn.Module, value: object) -> None:
        """Do nothing."""

    def end(self, *, completed: bool) -> None:
        """Do nothing."""


class Hook(ABC):
    """A hook that tells one listener of one module, and of no copy of it."""

    def __init__(self, listener: Listener, module: nn.Module, layer: str = "") -> None:
        _keep_out_of_compiled_code(type(self))
        self.listener = listener
        self.module = module
        self.layer = layer

    @abstractmethod
    def __call__(self, module: nn.Module, *passed: Any) -> None:
        """Be called by `module`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        _keep_out_of_compiled_code(type(self))
        self.__dict__.update(state)


@functools.cache
def _keep_out_of_compiled_code(kind: type[Hook]) -> None:
    """Do what `eager` does to a class of hooks; with the first of them, since importing the compiler takes seconds."""
    kind.__call__ = eager(kind.__call__)  # type: ignore[method-assign]


def prepare() -> None:
    """Import what hooks need, so that no check of a training is charged for the seconds that takes."""
    for kind in (Begin, End, Leaving, Entering):
        _keep_out_of_compiled_code(kind)


class Begin(Hook):
    """Tells where a forward pass of the whole model begins."""

    def __call__(self, module: nn.Module, *passed: Any) -> None:
        """Tell what was given."""
        inputs, named = passed
        if module is self.module:
            self.listener.begin(inputs, named)


class End(Hook):
    """Tells where it ends; the output is None when it failed."""

    def __call__(self, module: nn.Module, *passed: Any) -> None:
        """Tell whether it was completed."""
        if module is self.module:
            self.listener.end(completed=passed[-1] is not None)


class Leaving(Hook):
    """Catches what a module puts out."""

    def __call__(self, module: nn.Module, *passed: Any) -> None:
        """Tell the output, and the first input beside it."""
        if self.listener.active and module is self.module:
            inputs, named, output = passed
            entered = next(iter((*inputs, *named.values())), None)
            self.listener.caught(self.layer, module, Passed(output, entered))


class Entering(Hook):
    """Catches what enters a module."""

    def __call__(self, module: nn.Module, *passed: Any) -> None:
        """Tell the first input."""
        if self.listener.active and module is self.module:
            inputs, named = passed
            self.listener.caught(self.layer, module, [*inputs, *named.values()][:1])


def attached(listener: Listener, root: nn.Module, layers: Mapping[str, nn.Module]) -> list[RemovableHandle]:
    """Put hooks on `root`, whose passes are the whole model's, and on the module of each layer."""
    handles = [root.register_forward_pre_hook(Begin(listener, root), with_kwargs=True, prepend=True)]
    for layer, module in layers.items():
        if layer.endswith(INPUT):
            handles.append(module.register_forward_pre_hook(Entering(listener, module, layer), with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(Leaving(listener, module, layer), with_kwargs=True))
    handles.append(root.register_forward_hook(End(listener, root), always_call=True))
    return handles


@contextmanager
def captures_paused(model: nn.Module) -> Iterator[None]:
    """Let the block's passes by every capture that listens to `model`; one that is put on inside the block listens."""
    hooks: list[Any] = []
    for module in model.modules():
        hooks += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    listeners = {id(hook.listener): hook.listener for hook in hooks if isinstance(hook, Hook)}
    before = {key: listener.paused for key, listener in listeners.items()}
    for listener in listeners.values():
        listener.paused = True
    try:
        yield
    finally:
        for key, listener in listeners.items():
            listener.paused = before[key]
