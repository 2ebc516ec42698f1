"""Watching a training of Transformers: a callback for its Trainer."""

from connectivity_hooks_transformers.callback import WatchCallback

__all__ = ["WatchCallback"]
