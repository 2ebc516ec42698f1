"""Which axis of a timm model's features is what, as timm says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

_SAYS = "output_fmt"  # NCHW, NHWC, NLC or NCL: of a patch embedding, and of the stages where the model itself has it


def output_formats(model: nn.Module) -> Mapping[str, str]:
    """Return letters such as ``NHWC`` by layer, for stages and for what says it of its own output."""
    found = dict.fromkeys(_stages(model), _letters(model))
    for name, module in model.named_modules():
        if name and _letters(module):
            found[name] = _letters(module)
    return {name: letters for name, letters in found.items() if letters}


def _letters(module: nn.Module) -> str:
    said = getattr(module, _SAYS, None)
    letters = getattr(said, "value", said)  # an enumeration in some models, a text in others
    return letters if isinstance(letters, str) and letters.count("N") == letters.count("C") == 1 else ""


def _stages(model: nn.Module) -> Iterator[str]:
    info = getattr(model, "feature_info", None) or []
    for entry in getattr(info, "info", info):
        if isinstance(entry, Mapping) and isinstance(entry.get("module"), str):
            yield entry["module"]
