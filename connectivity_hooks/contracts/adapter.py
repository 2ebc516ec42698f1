"""A model adapter: how models of one library are made, recognised and read from that library's own checkpoints."""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from connectivity_hooks.contracts.tokenizer import Tokenizer

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

    def model_of(self, folder: pathlib.Path) -> str | None:
        """Return the model a checkpoint folder in the library's own format names, e.g. ``timm:resnet18``; else None."""
        return None

    def tokenizer(self, folder: pathlib.Path) -> Tokenizer | None:
        """Return the tokenizer whose files, of the library's own format, lie in a folder; None where there are none.

        Nothing is downloaded, and no code beside the library's own is run.
        """
        return None
