"""The size of the images that a timm model was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def input_size(model: nn.Module) -> tuple[int, ...] | None:
    """Return channels, height and width; None where the model does not say.

    The configuration has the size of the pretrained model, whatever ``in_chans`` and ``img_size`` it was made with: the
    first convolution and the patch embedding know better.
    """
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if not isinstance(config, Mapping):
        return None
    size = config.get("input_size")
    if not isinstance(size, (tuple, list)) or len(size) != 3:
        return None
    channels = _channels(model, config.get("first_conv")) or size[0]
    image = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return (channels, *(image if isinstance(image, (tuple, list)) and len(image) == 2 else size[1:]))


def _channels(model: nn.Module, first: Any) -> int | None:
    """Return what the first convolution reads; None where that is no convolution."""
    names = [first] if isinstance(first, str) else list(first or ())
    found = [module for name, module in model.named_modules() if name in names]
    channels = getattr(found[0], "in_channels", None) if found else None
    return channels if isinstance(channels, int) else None
