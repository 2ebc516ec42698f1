"""Watching a training: conditions on its features while it trains, without changing it."""

from connectivity_hooks.watching.handle import Watch
from connectivity_hooks.watching.history import Row, read_history
from connectivity_hooks.watching.watch import watch

__all__ = ["Row", "Watch", "read_history", "watch"]
