"""Whether the first axis of a feature is the samples, in a model that has sequence-first modules."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.module_axes import says_batch_first
from connectivity_hooks.features.select import INPUT

Rows: TypeAlias = Literal["first", "second", "unsure"]

_DECLARED = (
    "it takes tokens first (batch_first=False), and the second axis of its output {} is not as long as the batch; "
    "watch with a probe"
)
_ALIKE = (
    "its output {} has as many tokens as samples, in a model that works with tokens first (batch_first=False): which "
    "axis is the samples cannot be told; watch with a probe"
)


class SequenceFirst:
    """Says whether the axis of a feature that is as long as the batch is its samples, as far as the modules tell.

    PyTorch's attention, recurrent and transformer modules take (T, N, n) unless they are made with ``batch_first``;
    what lies between two of them does not say.

    Args:
        model: The module listened to.
    """

    def __init__(self, model: nn.Module) -> None:
        said = {name: says_batch_first(module) for name, module in model.named_modules()}
        self._said = {name: value for name, value in said.items() if value is not None}
        self._possible = False in self._said.values()

    def rows(self, layer: str, tensor: Tensor, samples: int) -> Rows:
        """Return which axis counts the samples, or ``unsure`` where only targets tell whether one as long does.

        Args:
            layer: Dotted name, ``NAME:input``, or a single call of either.
            tensor: Its feature.
            samples: The first axis of what the model was given.

        Raises:
            InputError: None is as long, or nothing can tell.
        """
        if not self._possible or tensor.ndim < 3:
            return "first"
        first = self._of(modules_of([layer])[0].removesuffix(INPUT))
        if first is None and tensor.size(0) == tensor.size(1):
            raise InputError(_ALIKE.format(tuple(tensor.shape)))
        if first is False and tensor.size(1) != samples:
            raise InputError(_DECLARED.format(tuple(tensor.shape)))
        return "unsure" if first is None else "first" if first else "second"

    def _of(self, name: str) -> bool | None:
        """Return what a module or the nearest around it says; None where they say nothing."""
        parts = name.split(".")
        around = (".".join(parts[:count]) for count in range(len(parts), -1, -1))
        return next((self._said[each] for each in around if each in self._said), None)
