"""What is done to the weights between two checkpoints before they are measured or written."""

from __future__ import annotations

from connectivity_hooks.contracts import Correction, hookimpl


@hookimpl
def register_corrections() -> list[type[Correction]]:
    """Offer the corrections."""
    from connectivity_hooks_corrections.batch_norm import BatchNorm
    from connectivity_hooks_corrections.repair import Repair

    return [BatchNorm, Repair]
