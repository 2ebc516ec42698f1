"""Watching a training: conditions on its features while it trains, without changing it."""

from connectivity_hooks.watching.averages import Averages
from connectivity_hooks.watching.handle import Watch
from connectivity_hooks.watching.history import Row, read_history
from connectivity_hooks.watching.loaders import drawn
from connectivity_hooks.watching.loggers import loggers
from connectivity_hooks.watching.state import counted_in
from connectivity_hooks.watching.watch import watch

__all__ = [
    "Averages",
    "Row",
    "Watch",
    "counted_in",
    "drawn",
    "loggers",
    "read_history",
    "watch",
]
