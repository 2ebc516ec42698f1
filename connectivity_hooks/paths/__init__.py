"""Paths in weight space: t in [0, 1] to weights, with a guarantee for every segment."""

from connectivity_hooks.paths.edits import Edit
from connectivity_hooks.paths.path import CONSTANT, CONVEX, MEASURED, EndPoint, Path
from connectivity_hooks.paths.weights import Weights, weights_of

__all__ = ["CONSTANT", "CONVEX", "MEASURED", "Edit", "EndPoint", "Path", "Weights", "weights_of"]
