"""timm models under the prefix ``timm:``, and the checkpoint folders timm writes."""

from __future__ import annotations

from connectivity_hooks.contracts import Adapter, hookimpl


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter; timm itself is imported when a model is made."""
    from connectivity_hooks_timm.adapter import TimmAdapter

    return [TimmAdapter]
