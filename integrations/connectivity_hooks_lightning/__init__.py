"""Watching a training of Lightning: a callback for its Trainer."""

from connectivity_hooks_lightning.callback import WatchCallback

__all__ = ["WatchCallback"]
