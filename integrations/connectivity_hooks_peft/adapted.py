"""The module that is measured: a base, which is frozen and shared, and an adapter, whose weights are its only ones.

What a module's state has is what a path is made of. The base's tensors become buffers that are not saved: they run,
they move to the task's device with the module, and nothing fits, aligns, trains or stores them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

INNER = "base_model.model"
"""Where PEFT has the base in its module."""


class Adapted(nn.Module):
    """A base with one adapter in it; its forward is the base's own.

    Args:
        tuner: The base as PEFT wraps it (``LoraModel``), so that names are those of PEFT's files.
        peft_config: PEFT's configurations by the adapter's name; its functions ask for them.

    Attributes:
        stored_names: For each name of the state, its name in adapter_model.safetensors.
        base_digest: Of the base's weights, see `connectivity_hooks_peft.base.base`; empty where they were not read.
    """

    stored_names: Mapping[str, str]
    base_digest: str

    def __init__(self, tuner: nn.Module, peft_config: Any) -> None:
        super().__init__()
        self.base_model = tuner
        self.peft_config = peft_config
        self.stored_names = {}
        self.base_digest = ""

    @property
    def inner(self) -> nn.Module:
        """The base itself, with the adapter's layers in it."""
        return self.get_submodule(INNER)

    @property
    def config(self) -> Any:
        """The base's configuration."""
        return self.inner.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the base with its adapter."""
        return self.inner(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapted:
        """Copy everything but the base's tensors, which are shared: nobody writes to them."""
        memo.update({id(tensor): tensor for tensor in frozen(self).values()})
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        made.__dict__.update({key: copy.deepcopy(value, memo) for key, value in self.__dict__.items()})
        return made


def adapted(tuner: nn.Module, peft_config: Any) -> Adapted:
    """Return the module, with the arguments that the base's forward has."""
    inner: Any = type(tuner.get_submodule("model"))  # a type may not be hashable, as far as mypy knows
    return _class_of(inner)(tuner, peft_config)


def freeze(model: nn.Module, own: Mapping[str, Tensor]) -> None:
    """Turn every tensor of a module but `own` into a buffer that is not saved; memory is shared with what it was."""
    kept = {id(tensor) for tensor in own.values()}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) not in kept:
                delattr(module, name)
                module.register_buffer(name, parameter.detach(), persistent=False)
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if id(buffer) not in kept:
                module.register_buffer(name, buffer, persistent=False)


def frozen(model: nn.Module) -> dict[str, Tensor]:
    """Return the base's tensors by name: the buffers that are in no state."""
    saved = model.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in saved}


@functools.cache
def _class_of(base: type[nn.Module]) -> type[Adapted]:
    @functools.wraps(base.forward)  # whoever asks which arguments it takes is told the base's
    def forward(self: Adapted, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)

    return type(f"Adapted{base.__name__}", (Adapted,), {"forward": forward, "__module__": __name__})
