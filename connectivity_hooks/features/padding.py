"""Which tokens of a batch are padding: what the model itself is told of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from connectivity_hooks.model.inputs import Inputs

_TOKENS = "attention_mask"  # Transformers' name: 1 for a token, 0 for padding
_PADDING = ("src_key_padding_mask", "key_padding_mask")  # PyTorch's names: True for padding
_DECODER = "decoder"


class Tokens:
    """The tokens of a batch that are no padding, as the inputs say; without a mask nothing is known of it.

    A model of an encoder and a decoder has a mask for each: layers whose name has ``decoder`` in it have the second.

    Args:
        model: The module; its forward gives arguments without a name theirs.
        inputs: Inputs of a batch.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._masks = {name: mask for name, value in _named(model, inputs) for mask in [_mask(name, value)]}
        config = getattr(model, "config", None)  # of Transformers: there decoder inputs may be made of the labels
        self._two = any(name.startswith(_DECODER) for name, _ in _named(model, inputs)) or bool(
            getattr(config, "is_encoder_decoder", False)
        )

    def of(self, layer: str) -> Tensor | None:
        """Return the mask (N, T) bool for a layer's tokens; None where nothing is known of them."""
        if self._two and _DECODER in layer:
            return self._masks.get(f"{_DECODER}_{_TOKENS}")
        names = (_TOKENS, *_PADDING)
        return next((mask for name in names for mask in [self._masks.get(name)] if mask is not None), None)


def _mask(name: str, value: Any) -> Tensor | None:
    """Return the tokens that a mask (N, T) of zeros and ones keeps; other masks, of pairs of tokens, say no such."""
    if not isinstance(value, Tensor) or value.ndim != 2 or not (name.endswith(_TOKENS) or name in _PADDING):
        return None
    if not bool(((value == 0) | (value == 1)).all()):
        return None
    kept = value != 0
    return ~kept if name in _PADDING else kept


def _named(model: nn.Module, inputs: Inputs) -> Iterator[tuple[str, Any]]:
    if isinstance(inputs, Mapping):
        yield from ((str(name), value) for name, value in inputs.items())
    elif isinstance(inputs, (tuple, list)):
        yield from zip(_parameters(model), inputs, strict=False)


def _parameters(model: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):  # a forward that was written in another language
        return []
