"""What maps that mix neurons leave of their group: linear maps, convolutions, products of matrices, attention."""

from __future__ import annotations

from connectivity_hooks.structure.program import Operand
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, SCALED, SIGNED, Group, O, S
from connectivity_hooks.structure.symmetries.uses import Use


def map_of_neurons(use: Use) -> Group:
    """A linear map of the last axis, or a product of matrices; neurons that are told apart in both factors only meet.

    Where both factors of a sum over neurons are computed from them, one would turn against the other; rotations turn
    both alike.
    """
    holders = [(name, operand) for name, operand in use.holders() if name not in _added(use)]
    if len(holders) < 2 or _is_map(use):
        return GL
    if not all(_summed_over(use, name, operand) for name, operand in holders):
        return S
    return O if all(operand.source == "value" for _, operand in holders) else GL


def _added(use: Use) -> tuple[str, ...]:
    """Return the names of the argument that is added to the product."""
    return ("self",) if use.step.operation in ("aten.addmm", "aten.baddbmm") else ("bias",)


_FIRST = ("self", "mat1", "batch1")


def _is_map(use: Use) -> bool:
    """Say whether a weight of the model maps the last axis, whose rows and columns may both be the neurons."""
    given = use.operand("mat1") or next(operand for _, operand in use.operands())
    weight = use.operand("weight") or use.operand("mat2")
    return weight is not None and weight.source == "weight" and set(use.axes(given)) <= {use.rank(given) - 1}


def _summed_over(use: Use, name: str, operand: Operand) -> bool:
    """Say whether the neurons are where a product of matrices sums."""
    rank = use.rank(operand)
    if name in ("input", "weight"):
        return use.axes(operand) == (rank - 1,)
    at = rank - 1 if name in _FIRST or rank == 1 else rank - 2
    return use.axes(operand) == (at,)


def einsum(use: Use) -> Group:
    """Letters that are summed over are maps; letters that stay, in several factors, are products entry by entry."""
    before, _, after = str(use.argument("equation", "")).replace(" ", "").partition("->")
    holders = use.holders()
    operands = [operand for _, operand in use.operands()]
    if len(holders) < 2:
        letters = {before.split(",")[i][axis] for i, one in enumerate(operands) for axis in use.axes(one)}
        return GL if letters <= set(after) else O1
    if use.out:
        return S
    return O if all(operand.source == "value" for _, operand in holders) else GL


def convolution(use: Use) -> Group:
    """A linear map; in groups, each group is a map of its own, whose kernels stay with it."""
    groups = use.argument("groups", 1)
    given, weight = use.operand("input"), use.operand("weight")
    if given is None or weight is None:
        return S
    if groups == 1:
        return _ungrouped(use, given, weight)
    shape = use.flow.program.weight_shapes.get(weight.name, ())
    rows = shape[0] if shape else 0
    if rows == groups and shape[1] == 1:  # depthwise: a factor passes through, a sum of channels does not
        return MONOMIAL
    return S


def _ungrouped(use: Use, given: Operand, weight: Operand) -> Group:
    """Channels are summed over; a kernel that is computed from the weight's own columns turns with its input only."""
    channels = use.rank(given) - use.rank(weight) + 1
    if not set(use.axes(given)) <= {channels} or not set(use.axes(weight)) <= {0, 1}:
        return S
    if weight.source == "weight" or not (use.axes(given) and use.axes(weight)):
        return GL
    rows, columns = (1, 0) if "transpose" in use.step.operation else (0, 1)
    return S if rows in use.axes(weight) else O if use.axes(weight) == (columns,) else S


def attention(use: Use) -> Group:
    """Inside a head queries meet keys in products, and values are averaged; heads may be exchanged."""
    last = {name: _is_last(use, use.operand(name)) for name in ("query", "key", "value")}
    if not any(last.values()):
        return S
    if last["query"] or last["key"]:
        return O
    return GL


def _is_last(use: Use, operand: Operand | None) -> bool:
    return operand is not None and use.axes(operand) == (use.rank(operand) - 1,)


def recurrent(use: Use) -> Group:
    """Columns that read the input are a map; the units meet functions of each entry, gates among them in most cells."""
    given = use.operand("input")
    parameters = [operand for name, operand in use.holders() if name == "params"]
    last = given is not None and set(use.axes(given)) <= {use.rank(given) - 1}
    of_input = all(use.axes(operand) == (1,) for operand in parameters)
    inside = any(use.axes(operand) for name, operand in use.holders() if name == "hx")
    if last and of_input and not inside and not _gives(use):
        return GL
    return _OF_UNITS.get(use.step.operation, S) if not last or not use.given else S


_OF_UNITS = {"aten.rnn_tanh": SIGNED, "aten.rnn_relu": SCALED}


def _gives(use: Use) -> bool:
    """Say whether any of several tensors that a step gives holds the neurons."""
    return any(Use(use.flow, reader, use.space).out for reader in use.flow.readers.get(use.step.name, ()))
