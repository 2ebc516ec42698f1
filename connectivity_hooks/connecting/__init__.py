"""Connecting a pair of checkpoints: read, align, build, and keep what is finished."""

from connectivity_hooks.connecting.connect import connect
from connectivity_hooks.connecting.evaluate import evaluate
from connectivity_hooks.connecting.pair import Pair, load_pair

__all__ = ["Pair", "connect", "evaluate", "load_pair"]
