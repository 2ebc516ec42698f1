"""Random inputs for a model of Transformers, of sizes that its configuration allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_TOKENS = 8
_SAMPLES = 4000  # of a sound: what the strides of Wav2Vec2's convolutions leave some frames of
_FRAMES = 3000


def inputs(model: nn.Module, samples: int) -> dict[str, Tensor] | None:
    """Return inputs of `samples` samples by name; None where what the model takes is not known."""
    config = getattr(model, "config", None)
    name = getattr(model, "main_input_name", None)
    make = _MAKERS.get(str(name))
    if config is None or make is None:
        return None
    made = {str(name): make(config, samples)}
    if getattr(config, "model_type", "") in _IMAGE_AND_TEXT:
        made = {"input_ids": _tokens(config, samples), "pixel_values": _images(config, samples)}
    if getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = _tokens(config, samples)
    return made


def _tokens(config: Any, samples: int) -> Tensor:
    vocabulary = _number(config, "vocab_size", 2)
    longest = _number(config, "max_position_embeddings", _TOKENS)
    special = {getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    plain = torch.tensor([token for token in range(min(vocabulary, 1000)) if token not in special] or [0])
    return plain[torch.randint(len(plain), (samples, min(_TOKENS, longest)))]


def _images(config: Any, samples: int) -> Tensor:
    size = _entry(config, "image_size") or 224
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return torch.randn(samples, _number(config, "num_channels", 3), int(height), int(width))


def _spectra(config: Any, samples: int) -> Tensor:
    frames = 2 * _number(config, "max_source_positions", _FRAMES // 2)
    return torch.randn(samples, _number(config, "num_mel_bins", 80), frames)


def _sounds(config: Any, samples: int) -> Tensor:
    return torch.randn(samples, _SAMPLES)


_MAKERS: dict[str, Callable[[Any, int], Tensor]] = {
    "input_ids": _tokens,
    "pixel_values": _images,
    "input_features": _spectra,
    "input_values": _sounds,
}
_IMAGE_AND_TEXT = {"clip", "siglip"}


def _number(config: Any, name: str, otherwise: int) -> int:
    value = _entry(config, name)
    return value if isinstance(value, int) and value > 0 else otherwise


def _entry(config: Any, name: str) -> Any:
    """Return an entry of a configuration, or of the text's or the images' inside of it."""
    inner = (getattr(config, part, None) for part in ("text_config", "vision_config"))
    return next((getattr(each, name) for each in (config, *inner) if getattr(each, name, None) is not None), None)
