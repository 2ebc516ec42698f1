"""What the library a model comes from says of its features, asked of its adapter."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from connectivity_hooks.features.layout import Layout, laid_out
from connectivity_hooks.strangers import guarded_call


def told_axes(model: nn.Module) -> Mapping[str, str]:
    """Return the letters of the layers whose axes the model's library says (`Adapter.axes`)."""
    from connectivity_hooks.registry import registry  # plugins are loaded when they are asked for, not before

    adapter = registry().adapter_of(model)
    if adapter is None:
        return {}
    with guarded_call(f"adapter {adapter.prefix}"):
        return dict(adapter.axes(model))


def told_layout(told: Mapping[str, str], layer: str, ndim: int, rows: int) -> Layout | None:
    """Return the layout a library says of a layer, where it is of as many axes and has the samples where they are.

    Args:
        told: Letters by layer (`told_axes`).
        layer: Dotted name.
        ndim: Axes of its feature.
        rows: The axis that counts the samples.
    """
    letters = told.get(layer)
    if letters is None or len(letters) != ndim:
        return None
    layout = laid_out(letters)
    return layout if layout.samples == rows else None


def told_positions(model: nn.Module, mask: Tensor, lengths: tuple[int, ...]) -> Tensor | None:
    """Return which of a layer's positions are no padding, as its library says (`Adapter.positions`); None: nothing."""
    from connectivity_hooks.registry import registry

    adapter = registry().adapter_of(model)
    if adapter is None:
        return None
    with guarded_call(f"adapter {adapter.prefix}"):
        return adapter.positions(model, mask, lengths)
