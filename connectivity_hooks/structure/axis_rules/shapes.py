"""Axes of what moves, reshapes, stretches or counts along axes, and of pooling."""

from __future__ import annotations

import math
from typing import Any

from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, pixels, replaced, stay, unknown
from connectivity_hooks.structure.program import Shape
from connectivity_hooks.structure.terms import (
    Atom,
    Family,
    Product,
    Term,
    positions,
    product,
    split_concatenation,
    split_product,
)


def permute(operands: Operands) -> Axes:
    """The axes in another order."""
    given = operands.axes("self")
    return tuple(given[dim] for dim in operands.argument("dims"))


def backwards(operands: Operands) -> Axes:
    """All axes in the opposite order."""
    return operands.axes("self")[::-1]


def transpose(operands: Operands) -> Axes:
    """Two axes exchanged: those named, or the last two."""
    given = list(operands.axes("self"))
    if len(given) < 2:
        return tuple(given)
    one, other = operands.argument("dim0", -2), operands.argument("dim1", -1)
    given[one], given[other] = given[other], given[one]
    return tuple(given)


def reshape(operands: Operands) -> Any:
    """Axes merged into one and split again."""
    whole = product(operands.axes("self"))
    if whole.size != math.prod(operands.shape):  # the bytes seen as numbers of another type
        return unknown(operands)
    if operands.apart is not None:
        return _split_apart(whole, operands.shape, operands.apart)
    return _split(whole, operands.shape)


def _split_apart(whole: Term, shape: Shape, apart: int) -> Any:
    """Split an axis into parts that are other neurons each, such as queries, keys and values."""
    before, count, after = shape[:apart], shape[apart], shape[apart + 1 :]
    slow, rest = split_product(whole, math.prod(before))
    parts = []
    for _ in range(count):
        part, rest = split_concatenation(rest, math.prod(after))
        parts.append(_split(part, after))
    return (*_split(slow, before), positions(count), *map(Family, zip(*parts, strict=True)))


def _split(whole: Term, shape: Shape) -> Axes:
    found: list[Term] = []
    for size in shape:
        if size == 1:
            found.append(positions(1))
        else:
            axis, whole = split_product(whole, size)
            found.append(axis)
    return tuple(found)


def insert_or_drop(operands: Operands) -> Axes:
    """Axes of length 1 that come or go."""
    given, shape = operands.axes("self"), operands.shape
    if len(given) > len(shape):
        named = operands.argument("dim")
        dims = named if isinstance(named, (tuple, list)) else range(len(given)) if named is None else [named]
        gone = {dim % len(given) for dim in dims}
        return tuple(term for number, term in enumerate(given) if number not in gone or term.size != 1)
    if len(given) == len(shape):
        return given
    at = operands.argument("dim") % len(shape)
    return (*given[:at], positions(1), *given[at:])


def expand(operands: Operands) -> Axes:
    """Axes of length 1 stretched: what is the same everywhere may be exchanged with whatever it meets."""
    given, shape = operands.axes("self"), operands.shape
    padded = (*pixels([1] * (len(shape) - len(given))), *given)
    return tuple(term if term.size == size else Atom(size) for term, size in zip(padded, shape, strict=True))


def filled(operands: Operands) -> Axes:
    """One number everywhere: its entries may be exchanged with whatever they meet."""
    return tuple(Atom(size) for size in operands.shape)


def repeat(operands: Operands) -> Axes:
    """Whole axes written several times, one after the other; the copies may be exchanged with whatever they meet."""
    given, shape = operands.axes("self"), operands.shape
    padded = (*pixels([1] * (len(shape) - len(given))), *given)
    return tuple(
        term if term.size == size else Product((Atom(size // term.size), term))
        for term, size in zip(padded, shape, strict=True)
    )


def repeat_interleave(operands: Operands) -> Any:
    """Each entry of an axis written several times in a row; the copies likewise."""
    given, times, dim = operands.axes("self"), operands.argument("repeats"), operands.argument("dim")
    if not isinstance(times, int) or dim is None:
        return unknown(operands)
    at = dim % len(given)
    return replaced(given, at, Product((given[at], Atom(times))))


def pool(operands: Operands) -> Any:
    """Positions are pooled, channel by channel; with the places of the largest entries where these are given too."""
    given = next(operands.each())
    count = next(int(letter) for letter in operands.step.operation if letter in "123")
    stay(given[-count:])
    if not operands.gives_several:
        return (*given[:-count], *pixels(operands.shape[-count:]))
    return tuple((*given[:-count], *pixels(shape[-count:])) for shape in operands.shapes)
