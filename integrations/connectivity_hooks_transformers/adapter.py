"""How Transformers' models are made, recognised, and read from the folders that ``save_pretrained`` writes."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from torch import Tensor, nn

from connectivity_hooks.contracts import Adapter, Tokenizer
from connectivity_hooks.model import Inputs
from connectivity_hooks_transformers import example, facts, folder, masks, names
from connectivity_hooks_transformers.layers import block_layers
from connectivity_hooks_transformers.tokenizing import tokenizer_of


class TransformersAdapter(Adapter):
    """Models of a folder with a config.json: ``transformers:FOLDER?task=causal-lm``.

    Nothing is downloaded, and no code but Transformers' own is run.
    """

    prefix = "transformers"

    def create(self, name: str, arguments: Mapping[str, object]) -> nn.Module:
        """Make the model of a folder's config.json, without weights of its own.

        Args:
            name: The folder.
            arguments: ``task`` for another head than the one that was saved; others change the configuration.

        Raises:
            InputError: Transformers is not installed, or cannot make it.
            UsageError: The folder has no configuration of a model, or an argument is unknown.
        """
        return folder.create(pathlib.Path(name), arguments)

    def claims(self, model: nn.Module) -> bool:
        """Say whether `model` is one of Transformers' pretrained models, its own or derived from them."""
        return any(
            cls.__name__ == "PreTrainedModel" and cls.__module__ == "transformers.modeling_utils"
            for cls in type(model).__mro__
        )

    def layers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the blocks, then what enters the head."""
        return block_layers(model) or ()

    def inputs(self, model: nn.Module, samples: int) -> Inputs | None:
        """Return random tokens, images or sounds of a length that the configuration allows."""
        return example.inputs(model, samples)

    def model_of(self, folder_: pathlib.Path) -> str | None:
        """Return the model of a folder that ``save_pretrained`` or the Trainer wrote."""
        return folder.model_of(folder_)

    def difference(self, first: str, second: str) -> str | None:
        """Say in which values two folders' configurations differ, as far as they make another model."""
        return folder.difference(first, second)

    def facts(self, model: nn.Module) -> Mapping[str, str]:
        """Return the entries of the configuration that make another model, and the model's class."""
        return facts.facts(model)

    def stored(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights as ``save_pretrained`` stores them: some are renamed, parted or joined."""
        return names.stored(model, weights)

    def loaded(self, model: nn.Module, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what a folder stores under the names of the module's own state."""
        return names.loaded(model, stored)

    def tokenizer(self, folder_: pathlib.Path) -> Tokenizer | None:
        """Return the tokenizer whose files lie in a folder; None where there are none."""
        return tokenizer_of(folder_)

    def positions(self, model: nn.Module, mask: Tensor, lengths: tuple[int, ...]) -> Tensor | None:
        """Return which frames are no padding, of sounds that convolutions make shorter."""
        return masks.positions(model, mask, lengths)
