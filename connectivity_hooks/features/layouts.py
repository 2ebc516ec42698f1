"""The layout of each layer, read from two small passes of different sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.axis_trace import AxisTrace
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.layout import Layout, Named
from connectivity_hooks.features.library import told_layout
from connectivity_hooks.features.module_axes import as_wide, hinted, made_by, no_samples, read_by, unclear
from connectivity_hooks.features.outputs import tensor_in
from connectivity_hooks.features.select import INPUT

SIZES = (3, 2)
"""Samples of the two passes: no axis but that of the samples is as long as both; one sample is a case of its own."""


@contextmanager
def followed(model: nn.Module) -> Iterator[AxisTrace]:
    """Follow the neurons through the passes inside the block, operations and modules alike."""
    trace = AxisTrace(model)
    with ExitStack() as stack:
        for module in model.modules():
            # weights alone make neurons: what others do to them the operations tell
            if made_by(module, 3) is not None:
                stack.callback(module.register_forward_hook(lambda *call: _tell(trace, *call)).remove)
                stack.callback(module.register_forward_pre_hook(lambda *call: _tell_read(trace, *call)).remove)
        stack.enter_context(trace)
        yield trace


def layout_of(
    model: nn.Module,
    layer: str,
    features: Sequence[Tensor],
    trace: AxisTrace | None,
    named: Named,
    told: Mapping[str, str],
) -> Layout:
    """Return which axis of a layer's feature is what.

    The samples are the axis that follows their number. The neurons are the axes that were named; else those that the
    model's library or the kind of the module says, that were followed from the weights that made them, or that what
    reads them says; else the one that is as long as the weights before are wide.

    Args:
        model: The module.
        layer: Dotted name, ``NAME:input``, or a single call of either.
        features: What the layer gave for as many samples as `SIZES` says.
        trace: What was followed in the second pass, if anything.
        named: What the user named.
        told: What the model's library says, letters by layer.

    Raises:
        InputError: No one axis follows the number of samples, or it is not clear which are the neurons.
    """
    shape = features[0].shape
    chosen = named.of(layer, len(shape))
    rows = _samples_axis(shape, features[1].shape)
    if chosen is not None:
        if chosen.samples != rows:
            raise InputError(
                f"layout {chosen.letters(len(shape))} was named for it, and axis {rows} of its shape {tuple(shape)} "
                f"counts the samples of a batch of {SIZES[0]}"
            )
        return chosen
    library = told_layout(told, layer, len(shape), rows)
    if library is not None:
        return library
    axes = _neurons(model, modules_of([layer])[0], features[1], trace, rows)
    if not axes:
        raise InputError(unclear(shape))
    return Layout(rows, axes)


def _samples_axis(three: Sequence[int], two: Sequence[int]) -> int:
    if len(three) != len(two):
        raise InputError(f"its output has {len(three)} axes for {SIZES[0]} samples and {len(two)} for {SIZES[1]}")
    differing = [axis for axis, lengths in enumerate(zip(three, two, strict=True)) if lengths[0] != lengths[1]]
    if len(three) < 2 or len(differing) != 1 or (three[differing[0]], two[differing[0]]) != SIZES:
        raise InputError(no_samples(three, SIZES[0]))
    return differing[0]


def _neurons(model: nn.Module, name: str, feature: Tensor, trace: AxisTrace | None, rows: int) -> tuple[int, ...]:
    ndim = feature.ndim
    if ndim == 2:
        return (1 - rows,)
    module = model.get_submodule(name.removesuffix(INPUT))
    said = read_by(module, ndim) if name.endswith(INPUT) else made_by(module, ndim)
    if said is not None and said != rows:
        return (said,)
    axes = frozenset() if trace is None else (trace.axes(feature) or frozenset()) - {rows}
    read = None if trace is None else trace.read(feature)
    if read is not None and read != rows and (not axes or read in axes):
        return (read,)
    hint = hinted(module, ndim)
    if axes:
        return (hint,) if hint in axes else tuple(sorted(axes))
    if hint == 1 != rows:
        return (hint,)  # a convolution or batch norm of another library, on raw data
    wide = as_wide(model, name, feature.shape, rows)
    return () if wide is None else (wide,)


def _tell(trace: AxisTrace, module: nn.Module, args: Any, returned: Any) -> None:
    feature = _feature(returned, module)
    axis = None if feature is None else made_by(module, feature.ndim)
    if feature is not None and axis is not None:
        trace.tell(feature, frozenset({axis}))


def _tell_read(trace: AxisTrace, module: nn.Module, args: tuple[Any, ...]) -> None:
    feature = _feature(args[:1], module)
    axis = None if feature is None else read_by(module, feature.ndim)
    if feature is not None and axis is not None:
        trace.tell_read(feature, axis)


def _feature(value: Any, module: nn.Module) -> Tensor | None:
    try:
        return tensor_in(value, module)
    except InputError:
        return None
