"""How a base with an adapter is made, recognised, and read from the folders that ``PeftModel`` writes."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Mapping

from torch import Tensor, nn

from connectivity_hooks.contracts import Adapter
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Inputs
from connectivity_hooks.registry import registry
from connectivity_hooks_peft import folder, making
from connectivity_hooks_peft.adapted import INNER, Adapted
from connectivity_hooks_peft.facts import facts_of_adapted

_LEFT = re.compile(r"\blora_(embedding_)?B\b")


class PeftAdapter(Adapter):
    """Models of a folder with an adapter_config.json: ``peft:FOLDER?base=FOLDER``.

    The weights are those of the adapter alone. The base is read once, from a folder of Transformers, and is shared:
    nothing fits, aligns, trains or stores it. Nothing is downloaded.
    """

    prefix = "peft"
    takes_base = True

    def create(self, name: str, arguments: Mapping[str, object]) -> nn.Module:
        """Make the base of an adapter's folder with the adapter's layers, of any values.

        Args:
            name: The adapter's folder.
            arguments: ``base`` for a base that adapter_config.json does not name as a folder; ``task`` and others are
                for the base, see ``transformers:``.

        Raises:
            InputError: PEFT is not installed, the adapter is of a kind that is not read, or it is none of this base.
            UsageError: No base is here.
        """
        return making.create(pathlib.Path(name), arguments)

    def claims(self, model: nn.Module) -> bool:
        """Say whether `model` is a base with an adapter, that `create` made or a person by ``get_peft_model``."""
        peft = sys.modules.get("peft")  # where it is not imported, nobody has made one
        return isinstance(model, Adapted) or (peft is not None and isinstance(model, peft.PeftModel))

    def layers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the layers of the base."""
        inner = model.get_submodule(INNER)
        adapter = registry().adapter_of(inner)
        return () if adapter is None else tuple(f"{INNER}.{name}" for name in adapter.layers(inner))

    def inputs(self, model: nn.Module, samples: int) -> Inputs | None:
        """Return random inputs for the base."""
        inner = model.get_submodule(INNER)
        adapter = registry().adapter_of(inner)
        return None if adapter is None else adapter.inputs(inner, samples)

    def model_of(self, folder_: pathlib.Path) -> str | None:
        """Return the model of a folder that ``PeftModel.save_pretrained`` or the Trainer wrote."""
        config = folder.read(folder_)
        if config is None:
            return None
        if any(sign in str(folder_) for sign in "?:"):
            raise InputError(f"{folder_}: a folder of this name cannot be named as a model; rename it, or say --model")
        folder.require_meant(folder_, config)
        return f"{self.prefix}:{folder_}"

    def difference(self, first: str, second: str) -> str | None:
        """Say in which values two folders' configurations differ, as far as they make another adapter."""
        one, other = (pathlib.Path(name.partition(":")[2].partition("?")[0]) for name in (first, second))
        return folder.difference(one, other)

    def facts(self, model: nn.Module) -> Mapping[str, str]:
        """Return what makes the adapter, and with ``base.`` before their names what makes the base, weights too."""
        return facts_of_adapted(model) if isinstance(model, Adapted) else {}

    def stored(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights as PEFT's files have them: without the adapter's name."""
        names = self._names(model)
        return {names.get(name, name): tensor for name, tensor in weights.items()}

    def loaded(self, model: nn.Module, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what adapter_model.safetensors holds under the names of the module's state."""
        own = {name: state for state, name in self._names(model).items()}
        return {own.get(name, name): tensor for name, tensor in stored.items()}

    def products(self, model: nn.Module) -> tuple[tuple[str, str], ...]:
        """Return LoRA's B and A of every layer."""
        names = self._names(model) or model.state_dict().keys()
        found = [(name, _LEFT.sub("lora_\\1A", name)) for name in names if _LEFT.search(name)]
        return tuple((left, right) for left, right in found if right in names and not left.endswith(".bias"))

    @staticmethod
    def _names(model: nn.Module) -> Mapping[str, str]:
        return model.stored_names if isinstance(model, Adapted) else {}
