"""The one place where a module is run on a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import Inputs, rows_of
from connectivity_hooks.model.outputs import Pick, picked
from connectivity_hooks.strangers import Pass, no_exit


@dataclass(frozen=True)
class Forward:
    """How a model is run, and which of what it returns are its outputs.

    Attributes:
        pick: Name or index of the entry that a loss reads, see `picked`.
        scalar: Whether that entry is one number for a batch; the outputs are then that number for each sample.
    """

    pick: Pick = None
    scalar: bool = False

    def __call__(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """Return the outputs (N, …) of a model on a batch's inputs.

        Raises:
            InputError: It would end the program, or no output can be picked.
        """
        return self.outputs(forward(model, inputs), inputs)

    def outputs(self, returned: Any, inputs: Inputs) -> Tensor:
        """Return the outputs (N, …) among what a model returned for a batch's inputs.

        Raises:
            InputError: No output can be picked, or it is not one number where it is to be.
        """
        found = picked(returned, self.pick)
        if not self.scalar:
            return found
        if found.numel() != 1:
            raise InputError(f"the model's {self.pick} has shape {tuple(found.shape)}; expected one number for a batch")
        return found.reshape(1).expand(rows_of(inputs))

    def under(
        self, model: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs, *, all_names: bool = False
    ) -> Tensor:
        """Return the outputs under other weights, by name; those not named stay the model's own.

        Args:
            model: The module.
            weights: Its weights.
            inputs: Of a batch.
            all_names: Whether tied tensors have all their names there; PyTorch else looks for them in every pass.
        """
        arguments, named = _arguments(inputs)
        with no_exit(Pass(model, inputs)):
            found = functional_call(model, dict(weights), arguments, named, tie_weights=not all_names)
            return self.outputs(found, inputs)


PLAIN = Forward()
"""For modules that return what can only be meant."""


def forward(model: nn.Module, inputs: Inputs) -> Any:
    """Run a model on a batch's inputs: one tensor, a tuple of arguments, or a mapping of named ones.

    Returns:
        What the model returns.

    Raises:
        InputError: It would end the program.
    """
    arguments, named = _arguments(inputs)
    with no_exit(Pass(model, inputs)):
        return model(*arguments, **named)


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, (tuple, list)) else ((inputs,), {})
