"""A model adapter: how models of one library are made, recognised and read from that library's own checkpoints."""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from connectivity_hooks.contracts.tokenizer import Tokenizer

if TYPE_CHECKING:
    from connectivity_hooks.model.inputs import Inputs


class Adapter(ABC):
    """Serves the models of one library under a prefix, as in ``timm:resnet18?num_classes=10``.

    An adapter only ever runs code of its own library: a checkpoint's metadata may name it.

    Attributes:
        prefix: What its models are named under.
        takes_base: Whether its models are adapters on a base, which ``--base FOLDER`` names; `create` is then given
            ``base`` among the arguments.
    """

    prefix: ClassVar[str]
    takes_base: ClassVar[bool] = False

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

    def difference(self, first: str, second: str) -> str | None:
        """Say in what two models that `model_of` named differ; None where both are the same model.

        Folders name a model each, and those of two runs are to be one.
        """
        return None if first == second else f"they name {first} and {second}"

    def facts(self, model: nn.Module) -> Mapping[str, str]:
        """Return what makes a model's function beside its own weights, by name, as text; empty where it is not known.

        Entries of a configuration that no tensor tells, and a digest of weights that the model has from elsewhere. A
        path records them, and is compared with the model that it is verified with. Under ``library`` is the library
        and its version, which is not compared: under another, names that only one side has say nothing.
        """
        return {}

    def stored(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights, given by the names of the module's state, as the library's own files have them.

        Tensors may be on the meta device: of them names and shapes are asked. `loaded` is the way back.
        """
        return weights

    def loaded(self, model: nn.Module, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what a file of the library holds, by the names of the module's state.

        Tensors may be on the meta device, see `stored`. What is no way of storing the model is returned as it is.
        """
        return stored

    def tokenizer(self, folder: pathlib.Path) -> Tokenizer | None:
        """Return the tokenizer whose files, of the library's own format, lie in a folder; None where there are none.

        Nothing is downloaded, and no code beside the library's own is run.
        """
        return None

    def products(self, model: nn.Module) -> tuple[tuple[str, str], ...]:
        """Return pairs of weights, B (out, r) and A (r, in), that the model uses as the product B·A alone.

        Whoever averages takes `connectivity_hooks.model.mean_of_products` of them: a mean of factors has no meaning.
        """
        return ()
