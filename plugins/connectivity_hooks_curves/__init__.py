"""Paths that are curves between two checkpoints, and volumes between any number of them."""

from __future__ import annotations

from connectivity_hooks.contracts import Builder, Command, hookimpl


@hookimpl
def register_builders() -> list[type[Builder]]:
    """Offer the curve builders."""
    from connectivity_hooks_curves.autoneb.builder import AutoNEB
    from connectivity_hooks_curves.bezier import Bezier, Polychain
    from connectivity_hooks_curves.layerwise.builder import Layerwise
    from connectivity_hooks_curves.linear import Linear
    from connectivity_hooks_curves.simplex.builder import Simplex

    return [Linear, Bezier, Polychain, AutoNEB, Layerwise, Simplex]


@hookimpl
def register_commands() -> list[type[Command]]:
    """Offer volumes between checkpoints."""
    from connectivity_hooks_curves.simplex.commands import RouteCommand, SampleCommand, SimplexCommand

    return [SimplexCommand, SampleCommand, RouteCommand]
