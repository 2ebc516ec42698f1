"""Many checkpoints at once: what may be averaged, how all of them are connected, and what is left out and why."""

from __future__ import annotations

from connectivity_hooks.contracts import Command, hookimpl


@hookimpl
def register_commands() -> list[type[Command]]:
    """Offer averages, graphs, planes and ensembles of checkpoints."""
    from connectivity_hooks_averaging.commands import (
        AverageCommand,
        EnsembleCommand,
        GraphCommand,
        PlaneCommand,
        SliceCommand,
    )

    return [AverageCommand, GraphCommand, PlaneCommand, SliceCommand, EnsembleCommand]
