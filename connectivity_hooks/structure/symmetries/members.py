"""Where in the weights the neurons of a space are, entry by entry, and what part each weight has in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure.layouts import Joined, Layout, Neurons
from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.factors import unscaled_axes
from connectivity_hooks.structure.symmetries.gammas import gamma_of, makes_gamma
from connectivity_hooks.structure.symmetries.uses import Flow, Use, axes_with

Role: TypeAlias = Literal["writes", "reads", "scales", "shifts", "means", "variances", "kernels"]
"""``writes``: gives the neurons their values, or adds to them (rows, biases, tables). ``reads``: columns. ``scales``
and ``shifts``: γ and β of a norm or another scale. ``means`` and ``variances``: statistics of batch norm. ``kernels``:
of a depthwise convolution."""


@dataclass(frozen=True, eq=False)
class Member:
    """An axis of a weight along which neurons of a space are.

    Attributes:
        weight: The weight's name.
        axis: Number of the axis.
        positions: Indices along it, (K, r, n): of each of K copies, each of the r entries that a neuron has, each of
            the n neurons.
        roles: What the weight does there; several for one that is used in several ways.
        takes_factors: Whether it takes part where neurons are multiplied by numbers: kernels, statistics and a γ that a
            factor passes do not, and what makes the input of a batch norm does not, since γ and β take the factor after
            it.
    """

    weight: str
    axis: int
    positions: Tensor
    roles: frozenset[Role]
    takes_factors: bool = True

    def matrices(self, weight: Tensor) -> Tensor:
        """Return the neurons as rows (K, n, r·m), where m is the number of entries of the weight's other axes."""
        rows = weight.movedim(self.axis, 0)[self.positions.to(weight.device)]  # (K, r, n, …)
        copies, entries, neurons = self.positions.shape
        return rows.flatten(3 if rows.dim() > 3 else 2).reshape(copies, entries, neurons, -1).transpose(1, 2).flatten(2)

    def replaced(self, weight: Tensor, matrices: Tensor) -> Tensor:
        """Return a copy of the weight with other rows (K, n, r·m) for the neurons; differentiable in both."""
        copies, entries, neurons = self.positions.shape
        moved = weight.movedim(self.axis, 0)
        rows = matrices.reshape(copies, neurons, entries, -1).transpose(1, 2).reshape(-1, *moved.shape[1:])
        return moved.index_copy(0, self.positions.flatten().to(weight.device), rows).movedim(0, self.axis)


def members_of(flow: Flow, space: int, outer: int | None) -> list[Member]:
    """Return where a space's neurons are, in the order in which the steps meet the weights.

    Args:
        flow: The program.
        space: Number of the space.
        outer: The space whose neurons number the copies, such as heads; None for one copy.
    """
    roles, unscaled = roles_of(flow, space), (unscaled_axes(flow, space) or set()) | _gammas(flow, space)
    found = []
    for weight, layouts in flow.spaces.weights.items():
        if weight in flow.program.tied or not all(layout.width for layout in layouts):
            continue
        for axis, layout in enumerate(layouts):
            if any(leaf.space == space for leaf in layout.leaves()):
                positions = positions_in(layout, space, outer)
                own = frozenset(roles.get((weight, axis), {"writes"}))
                takes = not own & _WITHOUT_FACTORS and (weight, axis) not in unscaled
                found.append(Member(weight, axis, positions, own, takes))
    return found


def _gammas(flow: Flow, space: int) -> set[tuple[str, int]]:
    """Return the axes of scales that multiply neurons: they pass signs and factors on, and take none."""
    gammas = [(gamma_of(flow, step), Use(flow, step, space)) for step in flow.program.steps]
    names = [gamma.scale for gamma, use in gammas if gamma is not None and use.holders()]
    return {(name, axis) for name in names for axis in axes_with(flow.spaces.weights[name], space)}


def positions_in(layout: Layout, space: int, outer: int | None = None) -> Tensor:
    """Return the entries of an axis (K, r, n) that are the neurons of a space, see `Member`."""
    number = _numbers(layout, space)
    copy = torch.zeros_like(number) if outer is None else _numbers(layout, outer)
    entries = torch.arange(layout.width)[number >= 0]
    number, copy = number[entries], copy[entries]
    neurons, copies = int(number.max()) + 1, int(copy.max()) + 1
    order = torch.argsort((copy * neurons + number) * layout.width + entries)
    return entries[order].view(copies, neurons, -1).transpose(1, 2).contiguous()


def _numbers(layout: Layout, space: int) -> Tensor:
    """Return for each entry of an axis the number of its neuron in a space, −1 for what is none of it."""
    if isinstance(layout, Neurons):
        return torch.arange(layout.width) if layout.space == space else torch.full((layout.width,), -1)
    if isinstance(layout, Joined):
        return torch.cat([_numbers(part, space) for part in layout.parts])
    found = torch.full((1,), -1)
    for factor in layout.factors:
        found = torch.maximum(found[:, None], _numbers(factor, space)).flatten()
    return found


def occurs_once(layout: Layout, space: int) -> bool:
    """Say whether no entry of an axis is of several neurons of a space at once."""
    if isinstance(layout, Neurons):
        return True
    if isinstance(layout, Joined):
        return all(occurs_once(part, space) for part in layout.parts)
    within = [factor for factor in layout.factors if any(leaf.space == space for leaf in factor.leaves())]
    return len(within) <= 1 and all(occurs_once(factor, space) for factor in within)


def roles_of(flow: Flow, space: int) -> dict[tuple[str, int], set[Role]]:
    """Return what each weight does at each of its axes in which the space's neurons are."""
    found: dict[tuple[str, int], set[Role]] = {}
    for step in flow.program.steps:
        if not step.weights:
            continue
        use = Use(flow, step, space)
        for argument, operand in use.operands():
            if operand.source == "weight":
                for axis in use.axes(operand):
                    found.setdefault((operand.name, axis), set()).add(_role(use, step, argument, operand, axis))
    return found


_WITHOUT_FACTORS: frozenset[Role] = frozenset(("kernels", "means", "variances"))
_STATISTICS: dict[str, Role] = {
    "weight": "scales", "bias": "shifts", "running_mean": "means", "running_var": "variances",
}  # fmt: skip


def _role(use: Use, step: Step, argument: str, operand: Operand, axis: int) -> Role:
    operation = step.operation.removeprefix("aten.")
    if operation.endswith("_norm") and operation != "_weight_norm":
        return _STATISTICS.get(argument, "scales")
    if operation == "mul":
        return "scales" if len(use.holders()) > 1 else "writes"
    if makes_gamma(use):
        return "scales"
    last = len(use.flow.layouts(operand)) - 1
    if operation == "linear":
        return "reads" if argument == "weight" and axis == last else "writes"
    if operation.startswith("conv_transpose"):
        return "reads" if argument == "weight" and axis == 0 else "writes"
    if operation.startswith("conv"):
        if argument == "weight" and use.argument("groups", 1) > 1:
            return "kernels" if axis == 0 else "reads"
        return "reads" if argument == "weight" and axis == 1 else "writes"
    if operation in ("matmul", "bmm", "mm", "mv", "addmm", "baddbmm"):
        return (
            "writes" if operation in ("addmm", "baddbmm") and argument == "self" else _in_product(argument, axis, last)
        )
    return "reads" if operation == "einsum" and _summed(use, operand, axis) else "writes"


def _summed(use: Use, operand: Operand, axis: int) -> bool:
    """Say whether an einsum sums over an axis of an operand."""
    before, _, after = str(use.argument("equation", "")).replace(" ", "").partition("->")
    terms = zip(before.split(","), (each for _, each in use.operands()), strict=False)
    return any(each == operand and letters[axis] not in after for letters, each in terms if axis < len(letters))


def _in_product(argument: str, axis: int, last: int) -> Role:
    if argument in ("mat1", "self", "batch1"):
        return "reads" if axis == last else "writes"
    return "reads" if axis == max(0, last - 1) else "writes"


def copies_of(flow: Flow, space: int) -> int | None:
    """Return the space whose neurons number independent copies of this one, as heads do; None where there is one copy.

    Every tensor that holds neurons of the one has to hold the other, weights along the same axis: then no operation
    brings neurons of two copies together.
    """
    found: list[set[int]] = []
    for layouts in flow.spaces.weights.values():
        found += [beside for layout in layouts if (beside := _beside(layout, space, before=True)) is not None]
    for layouts in flow.spaces.values.values():
        found += _beside_in_value(layouts, space)
    candidates = set.intersection(*found) if found else set[int]()
    wide = {number: flow.spaces.spaces[number].width for number in candidates if flow.spaces.spaces[number].width > 1}
    return max(wide, key=lambda number: (wide[number], -number), default=None)


def _beside_in_value(layouts: tuple[Layout, ...], space: int) -> list[set[int]]:
    """Return, for each axis of a value that holds a space, the spaces of which every such entry has one neuron."""
    whole = [_everywhere(layout) for layout in layouts]
    found = []
    for number, layout in enumerate(layouts):
        beside = _beside(layout, space, before=False)
        if beside is not None:
            found.append(beside.union(*(one for other, one in enumerate(whole) if other != number)) - {space})
    return found


def _beside(layout: Layout, space: int, before: bool) -> set[int] | None:
    """Return the spaces of which each entry of a space has one neuron too; None where the space is not in the layout.

    Args:
        layout: Of one axis.
        space: Number of the space.
        before: Whether to take only what runs more slowly.
    """
    if isinstance(layout, Neurons):
        return set() if layout.space == space else None
    if isinstance(layout, Joined):
        parts = [found for part in layout.parts if (found := _beside(part, space, before)) is not None]
        return set.intersection(*parts) if parts else None
    for number, factor in enumerate(layout.factors):
        inside = _beside(factor, space, before)
        if inside is not None:
            others = layout.factors[:number] if before else layout.factors[:number] + layout.factors[number + 1 :]
            return inside.union(*map(_everywhere, others)) - {space}
    return None


def _everywhere(layout: Layout) -> set[int]:
    """Return the spaces of which every entry of an axis has one neuron."""
    if isinstance(layout, Neurons):
        return set() if layout.space is None else {layout.space}
    if isinstance(layout, Joined):
        return set.intersection(*map(_everywhere, layout.parts))
    return set[int]().union(*map(_everywhere, layout.factors))
