"""Features over a whole loader, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from connectivity_hooks.features.capture import capture
from connectivity_hooks.features.rows import samples_of_batch
from connectivity_hooks.strangers import Pass, no_exit

B = TypeVar("B")


def stream(
    model: nn.Module, batches: Iterable[B], layers: str | Sequence[str] | None = None
) -> Iterator[tuple[dict[str, Tensor], B]]:
    """Yield ({layer: feature}, batch) for every batch, in evaluation mode and without gradients.

    Every module's training flag is as before when the iteration ends, also when it ends early; so are the hooks.

    Args:
        model: The module.
        batches: Tensors, or tuples whose first entry is a tensor, a tuple of arguments or a dict of named ones.
        layers: As for `capture`.

    Raises:
        InputError: A layer's output cannot be taken, or has not one row for each sample of a batch.
    """
    with capture(model, layers, strict=True) as features, evaluation_mode(model):
        for batch in batches:
            with torch.no_grad():
                forward(model, batch)
            features.require_rows(samples_of_batch(batch))
            yield dict(features), batch


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for the block; every module's training flag is as before when it ends.

    Only the flags are set: a `train` of the module's own may do more, such as merging adapters into the weights.
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def forward(model: nn.Module, batch: Any) -> Any:
    """Run a model on a batch: a tensor, or a tuple whose first entry is one, a tuple of arguments or a dict of them.

    Returns:
        What the model returns.

    Raises:
        InputError: It would end the program.
    """
    inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
    with no_exit(Pass(model, inputs)):
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
