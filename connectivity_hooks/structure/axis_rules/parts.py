"""Axes of what puts axes together and takes parts of them: concatenation, split, slice, padding."""

from __future__ import annotations

from typing import Any

from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, broadcast, fixed, replaced, unknown
from connectivity_hooks.structure.terms import Family, concatenation, positions, split_concatenation, unify


def cat(operands: Operands) -> Axes:
    """One axis after the other; the other axes are the same neurons."""
    given = [axes for axes in operands.listed("tensors") if axes and any(term.size for term in axes)]
    at = operands.argument("dim", 0) % len(given[0])
    for axes in given[1:]:
        for number, term in enumerate(axes):
            if number != at:
                unify(given[0][number], term)
    return replaced(given[0], at, concatenation(axes[at] for axes in given))


def stack(operands: Operands) -> Axes:
    """A new axis, whose entries are told apart."""
    given = broadcast(operands.listed("tensors"))
    at = operands.argument("dim", 0) % (len(given) + 1)
    return (*given[:at], positions(operands.shape[at]), *given[at:])


def split(operands: Operands) -> Any:
    """Parts of one axis."""
    given = operands.axes("self")
    at = operands.argument("dim", 0) % len(given)
    found, rest = [], given[at]
    for shape in operands.shapes:
        part, rest = split_concatenation(rest, shape[at])
        found.append(replaced(given, at, part))
    return tuple(found)


def unbind(operands: Operands) -> Any:
    """The entries of one axis, told apart by their numbers."""
    given = operands.axes("self")
    at = operands.argument("dim", 0) % len(given)
    operands.pin(given[at : at + 1])
    return tuple(_entry(given, at, number) for number in range(given[at].size))


def select(operands: Operands) -> Axes:
    """One entry of an axis, by its number."""
    given = operands.axes("self")
    at = operands.argument("dim", 0) % len(given)
    operands.pin(given[at : at + 1])
    return _entry(given, at, operands.argument("index", 0))


def _entry(given: Axes, at: int, number: int) -> Axes:
    """Return the axes of one entry along an axis; where neurons are others at each entry, this entry's own."""
    kept = (*given[:at], *given[at + 1 :])
    return tuple(term.members[number] if isinstance(term, Family) else term for term in kept)


def slice_of(operands: Operands) -> Axes:
    """Some entries of an axis, by their numbers."""
    given = operands.axes("self")
    at = operands.argument("dim", 0) % len(given)
    size = given[at].size
    start, _, step = slice(operands.argument("start"), operands.argument("end"), operands.argument("step", 1)).indices(
        size
    )
    length = operands.shape[at]
    if step != 1:
        operands.pin(given[at : at + 1])
        return replaced(given, at, positions(length))
    _, rest = split_concatenation(given[at], start)
    part, _ = split_concatenation(rest, length)
    return replaced(given, at, part)


def pad(operands: Operands) -> Axes:
    """Entries put before and after axes, the last axis first; what repeats or cuts entries tells them apart."""
    given, amounts = operands.axes("self"), operands.argument("pad")
    plain = operands.argument("mode", "constant") == "constant"
    for back in range(len(amounts) // 2):
        at = len(given) - 1 - back
        before, after = amounts[2 * back : 2 * back + 2]
        if (before, after) == (0, 0):
            continue
        if plain and min(before, after) >= 0:
            given = replaced(given, at, concatenation([positions(before), given[at], positions(after)]))
        else:
            operands.pin(given[at : at + 1])
            given = replaced(given, at, positions(operands.shape[at]))
    return given


def reordered(operands: Operands) -> Axes:
    """Entries in another order along some axes, or along all: these stay."""
    given = operands.axes("self")
    dims = operands.argument("dims") or range(len(given))
    operands.pin(given[dim % len(given)] for dim in ([dims] if isinstance(dims, int) else dims))
    return given


def index(operands: Operands) -> Axes:
    """Entries along some axes chosen by tables of numbers: these axes stay, and so do those of the tables."""
    given, tables = operands.axes("self"), operands.argument("indices")
    for table in operands.listed("indices"):
        operands.pin(table)
    named = [number for number, table in enumerate(tables) if table is not None]
    operands.pin(given[number] for number in named)
    if named != list(range(named[0], named[-1] + 1)):
        axes: Axes = unknown(operands)
        return axes
    count = len(operands.shape) - len(given) + len(named)
    new = fixed(operands.shape[named[0] : named[0] + count], operands.place)
    return (*given[: named[0]], *new, *given[named[-1] + 1 :])


def index_select(operands: Operands) -> Axes:
    """Entries along one axis chosen by a list of numbers: this axis stays."""
    given = operands.axes("self")
    at = operands.argument("dim", 0) % len(given)
    operands.pin(given[at : at + 1])
    return replaced(given, at, positions(operands.shape[at]))


def gather(operands: Operands) -> Axes:
    """Entries along one axis chosen by a table of numbers, another one at each place: this axis stays."""
    given, table = operands.axes("self"), operands.axes("index")
    at = operands.argument("dim", 0) % len(given)
    operands.pin(given[at : at + 1])
    for number, (one, other) in enumerate(zip(given, table, strict=True)):
        if number != at and one.size == other.size:
            unify(one, other)
        elif number != at:  # the first entries alone are read
            operands.pin((one, other))
    return table


def item(operands: Operands) -> Any:
    """One of several tensors that an operation gave."""
    source, number = operands.argument("0"), operands.argument("1")
    return operands.known[source][number]
