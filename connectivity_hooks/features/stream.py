"""Features over a whole loader, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from connectivity_hooks.features.capture import capture
from connectivity_hooks.features.rows import samples_of_batch
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.running import forward

B = TypeVar("B")


def stream(
    model: nn.Module, batches: Iterable[B], layers: str | Sequence[str] | None = None
) -> Iterator[tuple[dict[str, Tensor], B]]:
    """Yield ({layer: feature}, batch) for every batch, in evaluation mode and without gradients.

    Tensors keep their axes as they came: of a sequence-first module, (T, N, n), the first is the tokens, which is not
    refused where a batch has as many samples as tokens. Every module's training flag is as before when the iteration
    ends, also when it ends early; so are the hooks.

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
                forward(model, batch[0] if isinstance(batch, (tuple, list)) else batch)
            features.require_rows(samples_of_batch(batch))
            yield dict(features), batch
