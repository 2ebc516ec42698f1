"""Which of a layer's positions are padding, where a model gives fewer than it was given."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn


class _Shortens(Protocol):
    """What Transformers' models of raw sound have; names and arguments are the library's."""

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor: ...

    def _get_feature_vector_attention_mask(self, feature_vector_length: int, attention_mask: Tensor) -> Tensor: ...


def positions(model: nn.Module, mask: Tensor, lengths: tuple[int, ...]) -> Tensor | None:
    """Return which of a layer's positions are no padding, as the model itself reckons it; None where it does not.

    A model of raw sound (Wav2Vec2, HuBERT, WavLM …) shortens its inputs by convolutions, and has a method that says
    which of the vectors behind them are of padding. Inside the convolutions nothing says it.

    Args:
        model: The module.
        mask: (N, T) bool: the positions that it was given that are no padding.
        lengths: The layer's own positions, (T',).
    """
    if mask.ndim != 2 or len(lengths) != 1 or not all(callable(getattr(model, name, None)) for name in _METHODS):
        return None
    shortens = cast(_Shortens, model)
    behind = shortens._get_feat_extract_output_lengths(torch.tensor(mask.shape[1]))  # on the host: nothing waits
    if int(behind) != lengths[0]:
        return None
    return shortens._get_feature_vector_attention_mask(lengths[0], mask.long()).bool()


_METHODS = ("_get_feat_extract_output_lengths", "_get_feature_vector_attention_mask")
