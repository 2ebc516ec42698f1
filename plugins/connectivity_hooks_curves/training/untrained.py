"""What no gradient moves and yet differs between the ends: on the straight line, as it will lie on the path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.model import Weights, same
from connectivity_hooks_curves.training.curve import Place, between
from connectivity_hooks_curves.training.module import FlatModule

Between: TypeAlias = Callable[[Sequence[Tensor], Place], Tensor]
"""Gives the values at a place of those at all ends."""


def on_line(ends: Sequence[Tensor], t: float) -> Tensor:
    """Return what lies on the straight line between two ends."""
    return between(ends[0], ends[1], t)


class Untrained:
    """Frozen parameters and buffers of a module, kept at a place while the rest is trained.

    What the module itself writes in a training pass (running statistics, u and v of a spectral norm, moving averages)
    is its own: it follows the batches.

    Args:
        flat: The module, at the first end.
        ends: Weights at t = 0 and at t = 1; of another shape all that are given.
        at: What lies between them.

    Attributes:
        own: Names of what the module writes itself; None before it ran once.
    """

    def __init__(self, flat: FlatModule, *ends: Weights, at: Between = on_line) -> None:
        self.own: frozenset[str] | None = None
        self._model, self._at = flat.model, at
        found = flat.model.state_dict(keep_vars=True)
        trained = {id(found[name]) for name in flat.names}
        self._ends = {
            name: (flat.held(tensor), [flat.cut(tensor, end[name]) for end in ends])
            for name, tensor in found.items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and id(tensor) not in trained
            if not all(same(ends[0][name], end[name]) for end in ends[1:])
        }
        self._before = {name: tensor.clone() for name, tensor in self._values().items()}

    @torch.no_grad()
    def write(self, place: Place) -> None:
        """Write what lies at a place into the module."""
        for name, (target, ends) in self._ends.items():
            if name not in (self.own or ()):
                target.copy_(self._at(ends, place))
                if self.own is None:
                    self._before[name] = target.clone()

    def look(self) -> None:
        """After the first pass: see what the module wrote."""
        if self.own is None:
            self.own = frozenset(
                name for name, now in self._values().items() if not _equal(now, self._before.get(name))
            )
            self._before.clear()

    def state(self) -> dict[str, Tensor]:
        """Return what the module wrote, which its next passes may read."""
        return {name: tensor for name, tensor in self._values().items() if name in (self.own or ())}

    @torch.no_grad()
    def restore(self, own: Iterable[str], state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.own = frozenset(own)
        self._before.clear()
        for name, tensor in self._values().items():
            if name in state:
                tensor.copy_(state[name])

    def _values(self) -> dict[str, Tensor]:
        """Return all buffers as they are now, and what lies on the line."""
        buffers = {name: buffer.detach() for name, buffer in self._model.named_buffers()}
        return {name: target for name, (target, _) in self._ends.items()} | buffers


def untrained_between(a: Weights, b: Weights, share: float) -> Weights:
    """Return weights on the straight line; what is equal, and integers, as they are in `a`."""
    return {
        name: between(tensor, b[name], share) if tensor.is_floating_point() and not same(tensor, b[name]) else tensor
        for name, tensor in a.items()
    }


def _equal(now: Tensor, before: Tensor | None) -> bool:
    return before is not None and same(now, before)
