"""Connecting a pair of checkpoints: read, align, build, keep, evaluate, tell; once, for every command and for Python.

In reading order: `pair` reads two checkpoints and fits them to a model; `methods` says how they are connected and
measured; `alignment` and `build` make the path and check what came back; `measured` is the one procedure, from a
pair to its evaluation, that tells the plugins; `connect` and `evaluate` are its two halves in Python. `attempts` are
several ways for one pair, of which `best` keeps one. What an interrupted run left is in `work`, a builder's own state
in `state_file`, and `subject` says whose it is.
"""

from connectivity_hooks.connecting.alignment import FunctionChange, function_change
from connectivity_hooks.connecting.build import built_with, still_connects
from connectivity_hooks.connecting.connect import connect
from connectivity_hooks.connecting.evaluate import evaluate
from connectivity_hooks.connecting.measured import connected_pair, measured_pair, told
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair, in_one_type, load_pair
from connectivity_hooks.connecting.subject import code_of, data_digest, method_of
from connectivity_hooks.connecting.work import PairWork, path_at, path_file

__all__ = [
    "Connecting",
    "FunctionChange",
    "Pair",
    "PairWork",
    "built_with",
    "code_of",
    "connect",
    "connected_pair",
    "data_digest",
    "evaluate",
    "function_change",
    "in_one_type",
    "load_pair",
    "measured_pair",
    "method_of",
    "path_at",
    "path_file",
    "still_connects",
    "told",
]
