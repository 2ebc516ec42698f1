"""Paths in weight space: t in [0, 1] to weights, with a guarantee for every segment."""

from connectivity_hooks.model.weights import Weights, weights_of
from connectivity_hooks.paths.edits import Edit, edits_between
from connectivity_hooks.paths.geometry import arc_lengths
from connectivity_hooks.paths.joining import joined
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, EndPoint, Guarantee, Path
from connectivity_hooks.paths.second_end import second_end_in_words

__all__ = [
    "CONSTANT",
    "CONVEX",
    "MEASURED",
    "Edit",
    "EndPoint",
    "Guarantee",
    "Path",
    "Weights",
    "arc_lengths",
    "edits_between",
    "joined",
    "second_end_in_words",
    "weights_of",
]
