"""Follows the neurons through a forward pass, operation by operation: which axes of each tensor they are.

`structure.read_spaces` knows more, which neurons they are, and needs a model that torch.export takes, and seconds.
Features are of any model, inside any training: here one pass of what runs anyway says enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from connectivity_hooks.features.axis_rules import RULES, WEIGHT, Axes, kept

_COPIES = ("detach", "clone", "alias", "_to_copy")


class AxisTrace(TorchDispatchMode):
    """Knows the axes of neurons of what was computed inside the block; nothing that is computed changes.

    Every tensor of the pass is held until `forget`, so that none is taken for another: use it for few samples.

    Args:
        model: The module; neurons are made by its weights.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, tuple[Tensor, Axes]] = {}
        self._reader: dict[int, int] = {}
        self._copied_from: dict[int, Tensor] = {}
        self._held: list[Any] = []
        for tensor in (*model.parameters(), *model.buffers()):
            self.tell(tensor, WEIGHT)

    def tell(self, tensor: Tensor, axes: Axes) -> None:
        """Take note of a tensor's axes of neurons."""
        self._known[id(tensor)] = (tensor, axes)

    def tell_read(self, tensor: Tensor, axis: int) -> None:
        """Take note that a module reads a tensor whose neurons, to it, are that axis."""
        self._reader[id(tensor)] = axis
        self._held.append(tensor)

    def read(self, value: Tensor) -> int | None:
        """Return the axis of neurons to the module that reads a tensor, or what it is a copy of; None where none is."""
        while id(value) not in self._reader and id(value) in self._copied_from:
            value = self._copied_from[id(value)]
        return self._reader.get(id(value))

    def known(self, value: Any) -> Axes | None:
        """Return what is known of a tensor; `WEIGHT` for what is made of weights alone."""
        return self._known[id(value)][1] if id(value) in self._known else None

    def axes(self, value: Tensor) -> Axes | None:
        """Return the axes of a tensor that are neurons; None where it is not known."""
        found = self.known(value)
        return found if found and found != WEIGHT else None

    def forget(self) -> None:
        """Let go of every tensor."""
        self._known.clear()
        self._reader.clear()
        self._copied_from.clear()
        self._held.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note what it did to the neurons."""
        returned = func(*args, **(kwargs or {}))
        with contextlib.suppress(Exception):  # a form of an operation that no rule expects leaves its outputs unknown
            self._note(func._overloadpacket.__name__.rstrip("_"), [*args, *(kwargs or {}).values()], returned)
        return returned

    def _note(self, name: str, args: Sequence[Any], returned: Any) -> None:
        given = list(_tensors(args))
        weights_alone = bool(given) and all(self.known(each) == WEIGHT for each in given)
        self._held.append((given, returned))
        for out in _tensors([returned]):
            if name in _COPIES:
                self._copied_from[id(out)] = given[0]
            if any(out is each for each in given):
                continue  # written in place: its axes are as before
            rule = RULES.get(name)
            axes = WEIGHT if weights_alone else rule(self.known, args, out) if rule else kept(self.known, given, out)
            if axes:
                self.tell(out, axes)


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
