"""What operations do to the axes of neurons: a table by the name of PyTorch's operation.

A rule is told the arguments, what is known of them, and what the operation gave. It returns the axes of neurons of each
tensor that was given; None where it does not know. An operation without a rule keeps axes that stay as long (`kept`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from torch import Tensor

Axes: TypeAlias = frozenset[int]
WEIGHT: Axes = frozenset({-1})
"""Stands for a tensor that is made of weights alone."""

Known: TypeAlias = Callable[[Any], Axes | None]
Rule: TypeAlias = Callable[[Known, Sequence[Any], Tensor], Axes | None]


def kept(known: Known, tensors: Sequence[Tensor], out: Tensor) -> Axes | None:
    """Return the axes of the first tensor whose neurons can be those of `out`, by shape; shapes broadcast."""
    found = [(tensor, axes) for tensor in tensors for axes in [known(tensor)] if axes and axes != WEIGHT]
    alike = sorted(found, key=lambda pair: pair[0].shape != out.shape)  # stable: the same shape first
    for tensor, axes in alike:
        shift = out.ndim - tensor.ndim
        if shift >= 0 and all(tensor.shape[axis] == out.shape[axis + shift] for axis in axes):
            return frozenset(axis + shift for axis in axes)
    return None


def viewed(before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes:
    """Return where neurons are after axes were merged and split, as ``view`` does it."""
    found: set[int] = set()
    for entering, leaving in _groups(before, after):
        if axes.intersection(entering):
            found.update([axis for axis in leaving if after[axis] != 1] or leaving[:1])
    return frozenset(found)


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield axes before and after that hold the same numbers, as few at a time as can be."""
    left, right = 0, 0
    while left < len(before) or right < len(after):
        entering, leaving = list(range(left, left + 1)), list(range(right, right + 1))
        while True:
            entering = [axis for axis in entering if axis < len(before)]
            leaving = [axis for axis in leaving if axis < len(after)]
            one, other = math.prod(before[a] for a in entering), math.prod(after[a] for a in leaving)
            if one < other and left + len(entering) < len(before):
                entering.append(left + len(entering))
            elif other < one and right + len(leaving) < len(after):
                leaving.append(right + len(leaving))
            else:
                break
        left, right = left + max(1, len(entering)), right + max(1, len(leaving))
        yield entering, leaving


def _of_first(rule: Callable[[Axes, Sequence[Any], Tensor], Axes | None]) -> Rule:
    """Return a rule for operations on one tensor, of which the neurons are known."""

    def applied(known: Known, args: Sequence[Any], out: Tensor) -> Axes | None:
        axes = known(args[0])
        return axes if axes is None or axes == WEIGHT else rule(axes, args, out)

    return applied


def _view(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    return viewed(args[0].shape, out.shape, axes)


def _permute(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    order = [axis % out.ndim for axis in args[1]]
    return frozenset(order.index(axis) for axis in axes)


def _transpose(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    one, other = (axis % out.ndim for axis in (args[1:3] if len(args) > 2 else (0, 1)))
    swapped = {one: other, other: one}
    return frozenset(swapped.get(axis, axis) for axis in axes)


def _unsqueeze(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    at = args[1] % out.ndim
    return frozenset(axis + (axis >= at) for axis in axes)


def _reduced(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    """Neurons that are summed over are gone; the axes behind one that is gone move."""
    ndim = args[0].ndim
    given = args[1] if len(args) > 1 and args[1] is not None else range(ndim)
    gone = {axis % ndim for axis in ([given] if isinstance(given, int) else given)}
    if out.ndim == ndim:
        return axes - gone
    return frozenset(axis - sum(each < axis for each in gone) for axis in axes - gone)


def _squeeze(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    shape = args[0].shape
    asked = args[1] if len(args) > 1 else range(len(shape))
    gone = [axis % len(shape) for axis in ([asked] if isinstance(asked, int) else asked)]
    return _reduced(axes, (args[0], [axis for axis in gone if shape[axis] == 1]), out)


def _unbind(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    return _reduced(axes, (args[0], args[1] if len(args) > 1 else 0), out)


def _stack(known: Known, args: Sequence[Any], out: Tensor) -> Axes | None:
    at = (args[1] if len(args) > 1 else 0) % out.ndim
    axes = next((axes for each in args[0] for axes in [known(each)] if axes and axes != WEIGHT), None)
    return None if axes is None else frozenset(axis + (axis >= at) for axis in axes)


def _cat(known: Known, args: Sequence[Any], out: Tensor) -> Axes | None:
    return next((axes for each in args[0] for axes in [known(each)] if axes and axes != WEIGHT), None)


def _product(known: Known, args: Sequence[Any], out: Tensor) -> Axes:
    """A product with weights makes neurons of the weights' free axis; one of features hands their free axes on."""
    one, other = [each for each in args if isinstance(each, Tensor)][-2:]
    first, second = known(one) or frozenset(), known(other) or frozenset()
    row, column = out.ndim - 2, out.ndim - 1
    if second == WEIGHT:
        return frozenset({column})
    if first == WEIGHT:
        return frozenset({row})
    batch = {axis for axis in range(row) if axis in first or axis in second}
    rows = {row} if one.ndim - 2 in first else set()
    return frozenset(batch | rows | ({column} if other.ndim - 1 in second else set()))


def _same(axes: Axes, args: Sequence[Any], out: Tensor) -> Axes:
    """Some of the neurons are left, or there are more of them."""
    return frozenset(axis + out.ndim - args[0].ndim for axis in axes)


def _axis(number: int) -> Rule:
    def rule(known: Known, args: Sequence[Any], out: Tensor) -> Axes | None:
        return frozenset({number % out.ndim}) if out.ndim > 1 else None

    return rule


def _layer_norm(known: Known, args: Sequence[Any], out: Tensor) -> Axes | None:
    return frozenset({out.ndim - 1}) if len(args[1]) == 1 else kept(known, args[:1], out)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"), _axis(1)),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm"), _axis(1)),
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "miopen_batch_norm", "native_group_norm"), _axis(1)),
    **dict.fromkeys(("im2col", "col2im", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"), _axis(1)),
    **dict.fromkeys(("linear", "embedding", "_embedding_bag"), _axis(-1)),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "matmul", "_addmm_activation"), _product),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten"), _of_first(_view)),
    **dict.fromkeys(("transpose", "t", "swapaxes"), _of_first(_transpose)),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "std", "var", "var_mean"), _of_first(_reduced)),
    **dict.fromkeys(("logsumexp", "norm", "linalg_vector_norm", "argmax", "select"), _of_first(_reduced)),
    **dict.fromkeys(("slice", "split", "split_with_sizes", "chunk", "narrow", "index_select", "glu"), _of_first(_same)),
    **dict.fromkeys(("repeat", "tile", "constant_pad_nd", "expand"), _of_first(_same)),
    "unbind": _of_first(_unbind),
    "permute": _of_first(_permute),
    "unsqueeze": _of_first(_unsqueeze),
    "squeeze": _of_first(_squeeze),
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "stack": _stack,
    "cat": _cat,
}
