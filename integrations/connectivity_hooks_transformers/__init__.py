"""Models of Transformers under the prefix ``transformers:``, the folders it saves, and a callback for its Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectivity_hooks.contracts import Adapter, hookimpl

if TYPE_CHECKING:
    from connectivity_hooks_transformers.callback import WatchCallback

__all__ = ["WatchCallback"]


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter; Transformers itself is imported when a model is made."""
    from connectivity_hooks_transformers.adapter import TransformersAdapter

    return [TransformersAdapter]


def __getattr__(name: str) -> Any:
    if name == "WatchCallback":  # it needs Transformers, which takes seconds to import
        from connectivity_hooks_transformers.callback import WatchCallback

        return WatchCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
