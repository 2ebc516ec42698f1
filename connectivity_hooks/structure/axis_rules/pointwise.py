"""Axes of what acts entry by entry, of norms, and of what is summed over some axes."""

from __future__ import annotations

from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, broadcast
from connectivity_hooks.structure.terms import Atom, Product, positions, unify


def pointwise(operands: Operands) -> Axes:
    """Entries that meet are the same neurons."""
    return broadcast(operands.each())


def like_the_first(operands: Operands) -> Axes:
    """The value has the axes of the first tensor; another one gives a type or a device."""
    return next(operands.each())


def channel_norm(operands: Operands) -> Axes:
    """Batch and instance norm: weights and statistics belong to the channels."""
    given = operands.axes("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        broadcast([given[1:2], operands.axes(name)])
    return given


def last_axes_norm(operands: Operands) -> Axes:
    """Layer and RMS norm: weights belong to the last axes."""
    given = operands.axes("input")
    for name in ("weight", "bias"):
        broadcast([given, operands.axes(name)])
    return given


def group_norm(operands: Operands) -> Axes:
    """Groups of channels may be exchanged, and channels inside them, the same in each."""
    given, groups = operands.axes("input"), operands.argument("num_groups")
    if groups > 1:
        unify(given[1], Product((Atom(groups), Atom(given[1].size // groups))))
    for name in ("weight", "bias"):
        broadcast([given[1:2], operands.axes(name)])
    return given


def reduction(operands: Operands) -> Axes:
    """Axes that are summed, averaged or searched for their largest entry are gone, in whatever order they were."""
    given = next(operands.each())
    dims = operands.argument("dim", list(range(len(given))))
    over = {dim % len(given) for dim in (dims if isinstance(dims, (tuple, list)) else [dims])}
    if not over:
        over = set(range(len(given)))
    kept = operands.argument("keepdim", False)
    return tuple(
        positions(1) if number in over else term for number, term in enumerate(given) if kept or number not in over
    )
