"""Where an array has its channels: what a file does not say, and a model's first layer does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from connectivity_hooks.errors import UsageError, near_matches

Takes = Callable[[Tensor], bool]
"""Says whether a model can be run on inputs (N, …)."""

AUTO, AS_IS, FIRST, LAST, GRAY = "auto", "as-is", "channels-first", "channels-last", "gray"

LAYOUTS = {
    AUTO: "as stored where the model can be run on that, else as images",
    AS_IS: "as stored, and bytes are not scaled",
    FIRST: "as stored: (N, C, …)",
    LAST: "(N, …, C) becomes (N, C, …)",
    GRAY: "(N, H, W) becomes (N, 1, H, W)",
}

_COLOURS = (1, 3, 4)  # gray, RGB, RGB with opacity


def check_layout(layout: str) -> None:
    """Raise `UsageError` where there is no such layout."""
    if layout not in LAYOUTS:
        raise UsageError(f"--layout {layout}: {near_matches(layout, LAYOUTS)}")


def arranged(values: Tensor, layout: str) -> Tensor:
    """Return values (N, …) with their channels second; of layouts that move nothing, and of too few axes, as it is."""
    if layout == LAST and values.ndim > 2:
        return values.movedim(-1, 1).contiguous()
    return values.unsqueeze(1) if layout == GRAY and values.ndim == 3 else values


def settled(inputs: Tensor, takes: Takes | None) -> str:
    """Return the layout that ``auto`` means for the arrays of a file.

    Images without channels, and with them last, are tried on the model both as stored and with channels second. Bytes
    (N, H, W) are gray images first of all. Where both will do, as for a model that flattens its inputs, arrays are
    taken as stored; where there is no model to ask, bytes are images and floats are not.

    Args:
        inputs: The first samples, scaled.
        takes: Tries the model; None where there is none.
    """
    choices = _choices(inputs)
    if takes is None:
        return choices[-1] if inputs.dtype == torch.uint8 else choices[0]
    if inputs.dtype == torch.uint8 and inputs.ndim == 3:
        choices.reverse()
    if len(choices) == 1:
        return choices[0]
    scaled = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
    return next((layout for layout in choices if takes(arranged(scaled, layout))), choices[0])


def other(inputs: Tensor, layout: str) -> str | None:
    """Return a layout that the array could have as well, if there is one."""
    return next((choice for choice in _choices(inputs) if choice != layout), None)


def _choices(inputs: Tensor) -> list[str]:
    """Return the layouts that an array may have: as stored, and another where its shape is like images'."""
    if inputs.ndim == 3 and (inputs.dtype == torch.uint8 or inputs.is_floating_point()):
        return [FIRST, GRAY]
    if inputs.ndim == 4 and inputs.shape[3] in _COLOURS and inputs.shape[1] not in _COLOURS:
        return [FIRST, LAST]
    return [FIRST]
