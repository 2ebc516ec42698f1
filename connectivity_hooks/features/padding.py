"""Which positions of a batch are padding: what the model itself is told of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from connectivity_hooks.features.library import told_positions
from connectivity_hooks.features.view import fits
from connectivity_hooks.model.batches import LABELS
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.tasks.loss import IGNORED

_TOKENS = "attention_mask"  # Transformers' name: 1 for a token, 0 for padding
_PADDING = ("src_key_padding_mask", "key_padding_mask")  # PyTorch's names: True for padding
_PIXELS = "pixel_mask"  # Transformers' name where images of several sizes are in one batch: (N, H, W)
_TEXT = "input_ids"
_DECODER, _ENCODER = "decoder", "encoder"
LEFT_OUT, AVERAGED_IN = "left out", "averaged in"
"""What became of padding, in words."""
_NO_TEXT = ("vision", "visual", "image", "pixel", "audio", "speech")
"""Words in the names of a second tower's layers, whose positions are not the text's though there may be as many."""


class Tokens:
    """The positions of a batch that are no padding, as the inputs say; without a mask nothing is known of it.

    A model of an encoder and a decoder has a mask for each: layers whose name has not ``encoder`` in it have the
    second, or where there is none but labels, the positions that have one. A tower for images or sounds beside one for
    text has another than the text's.

    Args:
        model: The module; its forward gives arguments without a name theirs.
        inputs: Inputs of a batch.
        wait: Whether values may be read back from a device. Without, masks of floating numbers say nothing.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, wait: bool = True) -> None:
        self._model = model
        named = dict(_named(model, inputs))
        self._masks = {name: mask for name, value in named.items() for mask in [_mask(name, value, wait)]}
        config = getattr(model, "config", None)  # of Transformers: there decoder inputs may be made of the labels
        self._two = any(name.startswith(_DECODER) for name in named) or bool(
            getattr(config, "is_encoder_decoder", False)
        )
        self._text = _TEXT in named

    def of(self, layer: str) -> Tensor | None:
        """Return the mask (N, T) bool, or (N, H, W), for a layer's positions; None where nothing is known of them."""
        if self._two and (_DECODER in layer or _ENCODER not in layer):  # a head lies behind the decoder
            names: tuple[str, ...] = (f"{_DECODER}_{_TOKENS}", LABELS)
        elif self._text and any(word in layer for word in _NO_TEXT):
            names = (_PIXELS,)
        else:
            names = (_TOKENS, *_PADDING, _PIXELS)
        return next((mask for name in names for mask in [self._masks.get(name)] if mask is not None), None)

    def at(self, layer: str, rows: Tensor) -> Tensor | None:
        """Return the mask of a feature's own positions; None where there is none, or it is of other positions.

        A model may give fewer positions than it was given, such as one of sounds whose convolutions shorten them: which
        of them are padding its library's adapter knows (`Adapter.positions`).

        Args:
            layer: Its name.
            rows: The feature (N, n, …), with its positions behind (`view.positions_behind`).
        """
        mask = self.of(layer)
        if mask is None or rows.ndim < 3 or fits(mask, rows):
            return mask
        first = self._masks.get(_TOKENS)
        if self._two and first is not None and fits(first, rows) and _DECODER not in layer:
            return first  # an embedding that both sides share
        told = told_positions(self._model, mask, tuple(rows.shape[2:]))
        return told if told is not None and fits(told, rows) else None


def _mask(name: str, value: Any, wait: bool) -> Tensor | None:
    """Return the positions that a mask of zeros and ones keeps; other masks, of pairs of tokens, say no such."""
    if not isinstance(value, Tensor) or value.ndim != (3 if name == _PIXELS else 2):
        return None
    if name == LABELS:
        return None if value.is_floating_point() else value != IGNORED
    if not (name.endswith((_TOKENS, _PIXELS)) or name in _PADDING):
        return None
    if value.is_floating_point() and not (wait and bool(((value == 0) | (value == 1)).all())):
        return None  # one that is added to attention, or that cannot be told from such
    kept = value != 0
    return ~kept if name in _PADDING else kept


def _named(model: nn.Module, inputs: Inputs) -> Iterator[tuple[str, Any]]:
    if isinstance(inputs, Mapping):
        yield from ((str(name), value) for name, value in inputs.items())
    elif isinstance(inputs, (tuple, list)):
        yield from zip(_parameters(model), inputs, strict=False)


def named_arguments(model: nn.Module, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of `model` by name."""
    return {**dict(zip(_parameters(model), given, strict=False)), **named}


def _parameters(model: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):  # a forward that was written in another language
        return []
