"""Paths that are curves between two checkpoints."""

from __future__ import annotations

from connectivity_hooks.contracts import Builder, hookimpl


@hookimpl
def register_builders() -> list[type[Builder]]:
    """Offer the curve builders."""
    from connectivity_hooks_curves.autoneb.builder import AutoNEB
    from connectivity_hooks_curves.bezier import Bezier, Polychain
    from connectivity_hooks_curves.layerwise.builder import Layerwise
    from connectivity_hooks_curves.linear import Linear

    return [Linear, Bezier, Polychain, AutoNEB, Layerwise]
