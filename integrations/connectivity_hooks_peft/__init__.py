"""Adapters of PEFT under the prefix ``peft:``: two folders on one base, with paths in what was trained alone."""

from __future__ import annotations

from connectivity_hooks.contracts import Adapter, hookimpl


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter; PEFT itself is imported when a model is made."""
    from connectivity_hooks_peft.adapter import PeftAdapter

    return [PeftAdapter]
