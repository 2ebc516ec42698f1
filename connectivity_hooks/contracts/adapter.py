"""A model adapter: how models of one library are made, recognised and read from that library's own checkpoints."""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from connectivity_hooks.model.inputs import Inputs


class Adapter(ABC):
    """Serves the models of one library under a prefix, as in ``timm:resnet18?num_classes=10``.

    An adapter only ever runs code of its own library: a checkpoint's metadata may name it.
    """

    prefix: ClassVar[str]

    @abstractmethod
    def create(self, name: str, arguments: Mapping[str, object]) -> nn.Module:
        """Make the model `name`; raise `UsageError` with near matches when the library does not know it."""

    @abstractmethod
    def claims(self, model: nn.Module) -> bool:
        """Say whether `model` was made by this library."""

    @abstractmethod
    def layers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the layers whose features are worth looking at, by name, or ``NAME:input``."""

    def inputs(self, model: nn.Module, samples: int) -> Inputs | None:
        """Return random inputs of `samples` samples that a model of this library takes; None where that is not known.

        For what depends on no data, as the structure of the model.
        """
        return None

    def axes(self, model: nn.Module) -> Mapping[str, str]:
        """Return which axis of what a layer puts out is what, for the layers whose library says it: ``NHWC`` and such.

        N stands for the samples, C for the neurons, as in ``--axes``; layers of another number of axes are not meant.
        """
        return {}

    def positions(self, model: nn.Module, mask: Tensor, lengths: tuple[int, ...]) -> Tensor | None:
        """Return which of a layer's positions are no padding, where there are fewer than the model was given.

        Args:
            model: The module.
            mask: (N, T) bool, or (N, H, W): the positions the model was given that are no padding.
            lengths: The layer's own positions, (T',) or (H', W').

        Returns:
            (N, T') bool, or (N, H', W'); None where the library does not say.
        """
        return None

    def model_of(self, folder: pathlib.Path) -> str | None:
        """Return the model a checkpoint folder in the library's own format names, e.g. ``timm:resnet18``; else None."""
        return None
