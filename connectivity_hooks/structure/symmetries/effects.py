"""What each operation leaves of the group of the neurons it reads: one row for each operation.

An element g of a group acts on the values before an operation; it survives where the operation's values come out with
g acting on them, or, where neurons are summed over, as if nothing had been done. Operations whose weights can take
part (rows and columns of maps, scales and shifts of norms) are asked what survives when they do. What has no row
leaves permutations, if `axis_rules` has one for it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from connectivity_hooks.structure.program import Operand
from connectivity_hooks.structure.symmetries.effects_of_maps import (
    attention,
    convolution,
    einsum,
    map_of_neurons,
    recurrent,
)
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, SCALED, SIGNED, Group, O, S
from connectivity_hooks.structure.symmetries.uses import Use
from connectivity_hooks.structure.taught import taught

Effect: TypeAlias = Callable[[Use], Group]
"""Returns what survives of GL."""


def everything(use: Use) -> Group:
    """A map that is linear in the neurons, whatever it does along other axes."""
    return GL


def entry_by_entry(use: Use) -> Group:
    """A function of each entry, of which nothing else is known."""
    return S


def positively_homogeneous(use: Use) -> Group:
    """A function of each entry, or of entries of one neuron, that a positive factor passes through."""
    return SCALED


def odd(use: Use) -> Group:
    """A function of each entry that a sign passes through."""
    return SIGNED


def sum_of(use: Use) -> Group:
    """A sum of values of these neurons; a number, or a value that is the same for all of them, moves along ones."""
    tensors = list(use.operands())
    alike = len(use.holders()) == len(tensors) and _no_numbers(use)
    return GL if alike else O1


def product_of(use: Use) -> Group:
    """A product with what is the same for all neurons; with another of their values, neuron by neuron."""
    holders = [(name, operand) for name, operand in use.holders() if not _stretched_over(use, operand)]
    if not holders and use.holders():
        return O1
    if len(holders) < 2:
        return GL
    return _squares(use) if holders[0][1] == holders[1][1] else S


def quotient(use: Use) -> Group:
    """A product whose second factor is inverted; rounded, it is a function of each entry."""
    if use.argument("rounding_mode") is not None:
        return S
    second = use.operand("other")
    return S if use.axes(second) and not _stretched_over(use, second) else product_of(use)


def power(use: Use) -> Group:
    """Squares that are then summed over the neurons are a length, which rotations keep."""
    return _squares(use) if use.argument("exponent") == 2 else S


def square(use: Use) -> Group:
    """Squares likewise."""
    return _squares(use)


def _squares(use: Use) -> Group:
    readers = use.flow.readers.get(use.step.name, ())
    if not use.out or use.step.name == use.flow.output or not readers:
        return S
    return O if all(_sums_over(Use(use.flow, step, use.space)) for step in readers) else S


def _sums_over(use: Use) -> bool:
    if use.step.operation not in ("aten.mean", "aten.sum"):
        return False
    return bool(use.given) and set(use.given) <= use.over()


def mean(use: Use) -> Group:
    """A sum over positions is linear; a sum over the neurons themselves is kept by what keeps the ones."""
    if not set(use.given) & use.over():
        return GL
    return O if use.first is not None and _is_square(use, use.first) else O1


def _is_square(use: Use, operand: Operand) -> bool:
    """Say whether what is summed over are squares, see `power`."""
    step = use.flow.step(operand.name)
    if step is None:
        return False
    squares = {"aten.pow": power, "aten.square": square, "aten.mul": product_of}
    effect = squares.get(step.operation)
    return effect is not None and effect(Use(use.flow, step, use.space)) == O


def extreme(use: Use) -> Group:
    """The largest entry over positions; over neurons, or beside another tensor's, it depends on each."""
    return S if use.operand("other") or set(use.given) & use.over() else SCALED


def length(use: Use) -> Group:
    """The Euclidean length over the neurons, which rotations keep."""
    over = set(use.given) & use.over()
    return O if over and use.argument("ord", 2) == 2 and set(use.given) <= use.over() else S


def batch_norm(use: Use) -> Group:
    """An affine map of each neuron, in evaluation mode: its own scale and shift take part."""
    return MONOMIAL if use.given == (1,) and not use.argument("training", False) else S


def padding(use: Use) -> Group:
    """Entries put beside others, along other axes."""
    return GL if not use.argument("value", 0) and use.argument("mode", "constant") == "constant" else S


def filled(use: Use) -> Group:
    """Entries put in the place of others."""
    return GL if use.argument("value") in (0, 0.0) and not use.axes(use.operand("mask")) else S


def weight_norm(use: Use) -> Group:
    """A weight divided by its length over all axes but one; rotations along the others keep the length."""
    direction = use.operand("v")
    kept = use.argument("dim", 0) % use.rank(direction) if direction else 0
    return S if kept in use.axes(direction) else O


def stretched(use: Use) -> Group:
    """A value that is the same for all neurons lies along ones, unless it only multiplies; its other axes just move."""
    if not _makes_neurons(use):
        return GL
    readers = use.flow.readers.get(use.step.name, ())
    return GL if readers and all(step.operation in _FACTORS for step in readers) else O1


_FACTORS = ("aten.mul", "aten.div")


def _makes_neurons(use: Use) -> bool:
    first = next((operand for _, operand in use.operands()), None)
    return len(use.out) > len(use.axes(first))


def _stretched_over(use: Use, operand: Operand | None) -> bool:
    """Say whether a value is one number for all neurons, stretched along them."""
    step = use.flow.step(operand.name) if operand is not None and operand.source == "value" else None
    if step is None or EFFECTS.get(step.operation) not in (stretched, one_number):
        return False
    return _makes_neurons(Use(use.flow, step, use.space))


def one_number(use: Use) -> Group:
    """One number for all neurons: nothing moves zeros, and what keeps the ones keeps any other."""
    zero = "zeros" in use.step.operation or use.argument("fill_value", 1) in (0, 0.0)
    return GL if zero else O1


def _no_numbers(use: Use) -> bool:
    """Say whether a sum has no plain number among its terms."""
    numbers: list[Any] = [use.argument(name) for name in ("self", "other")]
    return all(isinstance(value, Operand) for value in numbers)


def _rows(*pairs: tuple[tuple[str, ...], Effect]) -> dict[str, Effect]:
    return {f"aten.{operation}": effect for operations, effect in pairs for operation in operations}


_MOVES = (
    "permute", "transpose", "t", "mT", "view", "reshape", "flatten", "_unsafe_view", "unflatten", "view_as",
    "reshape_as", "squeeze", "unsqueeze", "numpy_T", "index_select", "repeat", "repeat_interleave",
    "cat", "concat", "concatenate", "stack",
    "split", "chunk", "split_with_sizes", "unbind", "select", "slice", "roll", "flip", "index", "clone", "contiguous",
    "alias", "detach", "lift_fresh_copy", "dropout", "feature_dropout", "to", "type_as", "_to_copy", "float", "double",
    "half", "neg", "embedding",
)  # fmt: skip
_POOLS_OF_MEANS = tuple(f"{kind}avg_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3))
_POOLS_OF_LARGEST = tuple(f"{kind}max_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3)) + tuple(
    f"max_pool{axes}d_with_indices" for axes in (1, 2, 3)
)
_STRETCHED = (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
    "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa",
)  # fmt: skip

EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        "getitem": everything,
        **_rows(
            (_MOVES + _POOLS_OF_MEANS + _STRETCHED, everything),
            (("linear", "matmul", "bmm", "mm", "mv", "addmm", "baddbmm"), map_of_neurons),
            (("einsum",), einsum),
            (("conv1d", "conv2d", "conv3d"), convolution),
            (("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), convolution),
            (("add", "sub", "rsub"), sum_of),
            (("mul",), product_of),
            (("div",), quotient),
            (("pow",), power),
            (("square",), square),
            (("mean", "sum"), mean),
            (("var", "std"), lambda use: O1 if set(use.given) <= use.over() else S),
            (("amax", "max"), extreme),
            (("linalg_vector_norm",), length),
            (("scaled_dot_product_attention",), attention),
            (("batch_norm",), batch_norm),
            (("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
            (("pad", "constant_pad_nd"), padding),
            (("masked_fill",), filled),
            (("_weight_norm",), weight_norm),
            (("expand", "expand_as", "repeat", "repeat_interleave"), stretched),
            (("zeros", "ones", "full", "new_zeros", "new_ones", "new_full"), one_number),
            (("relu", "leaky_relu", *_POOLS_OF_LARGEST), positively_homogeneous),
            (("tanh", "erf", "sin", "asin", "atan", "sinh", "softsign", "tanhshrink", "softshrink", "hardshrink"), odd),
        ),
    }
)
"""Norms that scale neurons have their rows in `scales`, since what survives depends on who reads them."""


def concerns(use: Use) -> bool:
    """Say whether a step reads neurons of the space, or makes values for them out of none."""
    makes = bool(use.out) and EFFECTS.get(use.step.operation) in (stretched, one_number)
    return bool(use.holders()) or makes or _takes_numbers(use)


def _takes_numbers(use: Use) -> bool:
    """Say whether a step takes whole numbers out of several tensors, as the places of the largest entries."""
    return use.step.operation == "getitem" and use.step.rounded and bool(use.out)


def survives(use: Use) -> Group:
    """Return what one use leaves of a space's group; rounding is a function of each entry, whatever is rounded."""
    return _before_rounding(use) & (S if _rounds(use) else GL)


def _rounds(use: Use) -> bool:
    """Say whether a step rounds to the type of its value, or sees bytes as numbers of another type."""
    if _takes_numbers(use):
        return True
    seen_anew = use.step.operation == "aten.view" and use.argument("dtype") is not None
    return bool(use.holders()) and (use.step.rounded or seen_anew)


def _before_rounding(use: Use) -> Group:
    effect = EFFECTS.get(use.step.operation)
    if effect is not None:
        return effect(use)
    known = taught(use.step.operation)
    return known.leaves(use, GL) if known else entry_by_entry(use)
