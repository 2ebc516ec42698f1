"""A module as it is: its weights, its wrappers, and the one place where it is run on a batch."""

from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.inputs import (
    Inputs,
    concatenated,
    mapped,
    named_tensors,
    placed,
    rows_of,
    shapes_of,
    taken,
)
from connectivity_hooks.model.outputs import picked
from connectivity_hooks.model.precision import in_double
from connectivity_hooks.model.products import ProductMean, mean_of_products
from connectivity_hooks.model.running import PLAIN, Forward, forward
from connectivity_hooks.model.weights import Weights, assign, same, weights_of
from connectivity_hooks.model.wrappers import is_compiled, unwrapped

__all__ = [
    "PLAIN",
    "Forward",
    "Inputs",
    "ProductMean",
    "Weights",
    "assign",
    "concatenated",
    "evaluation_mode",
    "forward",
    "in_double",
    "is_compiled",
    "mapped",
    "mean_of_products",
    "named_tensors",
    "picked",
    "placed",
    "rows_of",
    "same",
    "shapes_of",
    "taken",
    "unwrapped",
    "weights_of",
]
