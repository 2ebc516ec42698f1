"""Axes of what mixes neurons by weights or by other values: linear maps, convolutions, products, attention, tables."""

from __future__ import annotations

from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, broadcast, pixels, replaced, stay, unknown
from connectivity_hooks.structure.terms import Atom, Product, Term, positions, unify


def linear(operands: Operands) -> Axes:
    """The last axis is read by columns of the weight; its rows are the new neurons."""
    given, weight, bias = (operands.axes(name) for name in ("input", "weight", "bias"))
    unify(given[-1], weight[-1])
    rows = weight[:-1]
    broadcast([rows, bias])
    return (*given[:-1], *rows)


def convolution(operands: Operands) -> Axes:
    """Channels are read in groups; the groups may be exchanged, and channels inside them, the same in each."""
    given, weight = operands.axes("input"), operands.axes("weight")
    batch = given[: len(given) + 1 - len(weight)]
    channels, groups = given[len(batch)], operands.argument("groups", 1)
    stay((*weight[2:], *given[len(batch) + 1 :]))
    if groups == 1:
        unify(channels, weight[1])
    else:
        group = Atom(groups)
        unify(channels, Product((group, weight[1])))
        unify(weight[0], Product((group, Atom(weight[0].size // groups))))
    broadcast([weight[:1], operands.axes("bias")])
    return (*batch, weight[0], *pixels(operands.shape[len(batch) + 1 :]))


def transposed_convolution(operands: Operands) -> Axes:
    """As a convolution, with the weight's first two axes exchanged."""
    given, weight = operands.axes("input"), operands.axes("weight")
    batch = given[: len(given) + 1 - len(weight)]
    if operands.argument("groups", 1) != 1:
        axes: Axes = unknown(operands)
        return axes
    stay((*weight[2:], *given[len(batch) + 1 :]))
    unify(given[len(batch)], weight[0])
    broadcast([weight[1:2], operands.axes("bias")])
    return (*batch, weight[1], *pixels(operands.shape[len(batch) + 1 :]))


def matrices(operands: Operands) -> Axes:
    """Rows of the first by columns of the second; what they share is summed over."""
    one, other = operands.axes("self"), operands.axes("other") or operands.axes("mat2") or operands.axes("vec")
    rows, cols = one[-2:-1], other[-1:] if len(other) > 1 else ()
    unify(one[-1], other[-2] if len(other) > 1 else other[-1])
    return (*broadcast([one[:-2], other[:-2]]), *rows, *cols)


def added_matrices(operands: Operands) -> Axes:
    """A product of matrices, and a bias that is added to it."""
    one, other = operands.axes("mat1") or operands.axes("batch1"), operands.axes("mat2") or operands.axes("batch2")
    unify(one[-1], other[-2])
    return broadcast([(*broadcast([one[:-2], other[:-2]]), one[-2], other[-1]), operands.axes("self")])


def einsum(operands: Operands) -> Axes:
    """Letters are axes: one letter, one set of neurons."""
    before, arrow, after = str(operands.argument("equation", "")).replace(" ", "").partition("->")
    tensors, terms = operands.listed("tensors"), before.split(",")
    if not arrow or "." in before or [len(axes) for axes in tensors] != list(map(len, terms)):
        axes: Axes = unknown(operands)
        return axes
    found: dict[str, Term] = {}
    for letters, given in zip(terms, tensors, strict=True):
        for letter, term in zip(letters, given, strict=True):
            unify(found.setdefault(letter, term), term)
    return tuple(found[letter] for letter in after)


def attention(operands: Operands) -> Axes:
    """Queries and keys share the width inside a head, keys and values the tokens; a causal order pins the tokens."""
    query, key, value = (operands.axes(name) for name in ("query", "key", "value"))
    unify(query[-1], key[-1])
    unify(key[-2], value[-2])
    if operands.argument("is_causal", False):
        stay((query[-2], key[-2]))
    heads = broadcast([query[:-2], *(_shared(axes, query) for axes in (key, value))])
    if operands.has("attn_mask"):
        broadcast([(*heads, query[-2], key[-2]), operands.axes("attn_mask")])
    return (*heads, query[-2], value[-1])


def _shared(axes: Axes, query: Axes) -> Axes:
    """Return the axes in front of a key or value, its heads repeated where several queries share one."""
    front = axes[:-2]
    if not front or query[-3].size == front[-1].size or front[-1].size == 1:
        return front
    return replaced(front, len(front) - 1, Product((front[-1], positions(query[-3].size // front[-1].size))))


def embedding(operands: Operands) -> Axes:
    """Rows are looked up by number, and stay; columns are the new neurons."""
    weight = operands.axes("weight")
    operands.pin(weight[:1])
    return (*operands.axes("indices"), *weight[1:])
