"""Whether a module that is spread over processes leaves its parameters alone: what it writes there would be lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import same


class _Before(NamedTuple):
    name: str
    registered: dict[str, nn.Parameter | None]
    key: str
    parameter: nn.Parameter
    values: Tensor


class Unwritten:
    """Looks at the gathered parameters of blocks before and after they run, until told to stop.

    Parameters are gathered for a pass and let go of after it, with all that was written into them.

    Args:
        model: The module, before it is spread.
        blocks: Its modules that parameters will be gathered for; `model` among them.

    Attributes:
        found: What a forward wrote, as names; empty where it left all alone.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        self.found = list[str]()
        self._who = type(model).__name__
        self._names = {id(module): name for name, module in model.named_modules()}
        self._before: dict[int, list[_Before]] = {}
        # First and last of all hooks, until FSDP puts its own around them: the module's may write, too.
        self._hooks = [block.register_forward_pre_hook(self._enter, prepend=True) for block in blocks]
        self._hooks += [block.register_forward_hook(self._leave) for block in blocks]

    def _enter(self, block: nn.Module, inputs: Any) -> None:
        self._before[id(block)] = [
            _Before(self._name(module, key), module._parameters, key, parameter, parameter.detach().clone())
            for module in block.modules()
            for key, parameter in module._parameters.items()
            if parameter is not None and not isinstance(parameter, DTensor)
        ]

    def _leave(self, block: nn.Module, inputs: Any, outputs: Any) -> None:
        for name, registered, key, parameter, values in self._before.pop(id(block), ()):
            if registered.get(key) is not parameter or not same(parameter.detach(), values):
                self.found.append(name)

    def _name(self, module: nn.Module, key: str) -> str:
        return f"{self._names.get(id(module), '')}.{key}".lstrip(".")

    def stop(self) -> None:
        """Look at no more passes.

        Raises:
            InputError: A pass wrote parameters.
        """
        for hook in self._hooks:
            hook.remove()
        if self.found:
            raise written(self._who, self.found[0])


def written(who: str, name: str) -> InputError:
    """Return the refusal of a module that writes one of its parameters."""
    return InputError(
        f"sharded: the model ({who}): its forward writes its parameter {name}, which is lost where every process holds "
        "a part of it; train it without sharded"
    )
