"""Which tensor of all that a module gives is its feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from connectivity_hooks.errors import InputError

_FIRST_OF_SEVERAL = (nn.MultiheadAttention, nn.RNNBase)


@dataclass(frozen=True)
class Passed:
    """What passed a module.

    Attributes:
        value: What it gave, structured as it likes.
        entered: Its first input.
    """

    value: object
    entered: object


def tensor_in(value: object, module: nn.Module) -> Tensor:
    """Return the feature: the only tensor of two axes or more, or of several the one shaped as what entered.

    A block hands on what it was given and may give more beside it, such as attention or a bias of positions.

    Args:
        value: What passed, or what entered.
        module: The module; attention and recurrent layers give their feature first.

    Raises:
        InputError: There is none, or it is not clear which.
    """
    value, entered = (value.value, value.entered) if isinstance(value, Passed) else (value, None)
    tensors = [tensor for tensor in _tensors(value) if tensor.ndim >= 2 and tensor.is_floating_point()]
    if len(tensors) == 1 or (tensors and isinstance(module, _FIRST_OF_SEVERAL)):
        return tensors[0]
    shape = tuple(entered.shape) if isinstance(entered, Tensor) else None
    alike = [tensor for tensor in tensors if tuple(tensor.shape) == shape]
    if len(alike) == 1:
        return alike[0]
    raise InputError(f"{type(module).__name__} gives {len(tensors)} tensors, expected one; capture a module inside it")


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _tensors([getattr(value, field.name) for field in dataclasses.fields(value)])
