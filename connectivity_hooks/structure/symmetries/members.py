"""Where in the weights the neurons of a space are, entry by entry, and what part each weight has in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure.layouts import Joined, Layout, Neurons
from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.factors import factors_in
from connectivity_hooks.structure.symmetries.gammas import gamma_made, gamma_of
from connectivity_hooks.structure.symmetries.positions import positions_in
from connectivity_hooks.structure.symmetries.uses import Flow, Use, axes_with
from connectivity_hooks.structure.taught import taught

Role: TypeAlias = Literal["writes", "reads", "scales", "shifts", "means", "variances", "kernels"]
"""``writes``: gives the neurons their values, or adds to them (rows, biases, tables). ``reads``: columns. ``scales``
and ``shifts``: γ and β of a norm or another scale. ``means`` and ``variances``: statistics of batch norm. ``kernels``:
of a depthwise convolution."""

ROLES: tuple[Role, ...] = ("writes", "reads", "scales", "shifts", "means", "variances", "kernels")


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

    @cached_property
    def whole(self) -> bool:
        """Whether there is one copy whose neurons are the axis as it is, so that a view will do."""
        width = self.positions.numel()
        return self.positions.shape[:2] == (1, 1) and torch.equal(self.positions.flatten(), torch.arange(width))

    def matrices(self, weight: Tensor) -> Tensor:
        """Return the neurons as rows (K, n, r·m), where m is the number of entries of the weight's other axes."""
        moved = weight.movedim(self.axis, 0)
        if self.whole and len(moved) == self.positions.shape[2]:
            return moved.reshape(1, len(moved), -1)
        rows = moved[self.positions.to(weight.device)]  # (K, r, n, …)
        copies, entries, neurons = self.positions.shape
        return rows.flatten(3 if rows.dim() > 3 else 2).reshape(copies, entries, neurons, -1).transpose(1, 2).flatten(2)

    def replaced(self, weight: Tensor, matrices: Tensor) -> Tensor:
        """Return a copy of the weight with other rows (K, n, r·m) for the neurons; differentiable in both."""
        copies, entries, neurons = self.positions.shape
        moved = weight.movedim(self.axis, 0)
        if self.whole and len(moved) == neurons:
            return matrices.reshape(moved.shape).movedim(0, self.axis)
        rows = matrices.reshape(copies, neurons, entries, -1).transpose(1, 2).reshape(-1, *moved.shape[1:])
        return moved.index_copy(0, self.positions.flatten().to(weight.device), rows).movedim(0, self.axis)

    def exchanged(self, weight: Tensor, order: Tensor) -> Tensor:
        """Return the weight with its neurons in another order (K, n), in one copy; differentiable in it."""
        index = torch.arange(weight.shape[self.axis])
        places = order.cpu()[:, None].expand(self.positions.shape)
        index[self.positions.flatten()] = torch.take_along_dim(self.positions, places, 2).flatten()
        return weight.index_select(self.axis, index.to(weight.device))

    def multiplied(self, weight: Tensor, factors: Tensor) -> Tensor:
        """Return the weight with its neurons multiplied by factors (K, n); differentiable in both."""
        along = torch.ones(weight.shape[self.axis], dtype=weight.dtype, device=weight.device)
        entries = factors.to(along)[:, None].expand(self.positions.shape)
        along = along.index_copy(0, self.positions.flatten().to(weight.device), entries.flatten())
        return weight * along.view(-1, *[1] * (weight.dim() - 1 - self.axis))


def members_of(flow: Flow, space: int, outer: int | None) -> list[Member]:
    """Return where a space's neurons are, in the order in which the steps meet the weights.

    Args:
        flow: The program.
        space: Number of the space.
        outer: The space whose neurons number the copies, such as heads; None for one copy.
    """
    roles, factors = roles_of(flow, space), factors_in(flow, space)
    bystanders = factors.none | _gammas(flow, space)
    found = []
    for axis in flow.axes.get(space, ()):
        if axis.weight in flow.program.tied or not all(flow.program.weight_shapes[axis.weight]):
            continue
        at = (axis.weight, axis.number)
        own = frozenset({factors.kernels[at]} if at in factors.kernels else roles.get(at, {"writes"}))
        takes = not own & _WITHOUT_FACTORS and at not in bystanders
        found.append(Member(*at, positions_in(axis.layout, space, outer), own, takes))
    return found


def _gammas(flow: Flow, space: int) -> set[tuple[str, int]]:
    """Return the axes of scales that multiply neurons: they pass signs and factors on, and take none."""
    gammas = [gamma_of(flow, step) for step in flow.using.get(space, ())]
    names = [gamma.scale for gamma in gammas if gamma is not None]
    return {(name, axis) for name in names for axis in axes_with(flow.spaces.weights[name], space)}


def roles_of(flow: Flow, space: int) -> dict[tuple[str, int], set[Role]]:
    """Return what each weight does at each of its axes in which the space's neurons are."""
    found: dict[tuple[str, int], set[Role]] = {}
    for step in flow.using.get(space, ()):
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
    gamma = gamma_made(use)
    if gamma is not None:
        return "shifts" if operand.name == gamma.shift else "scales"
    last = len(use.flow.layouts(operand)) - 1
    if argument == "params":  # of a recurrent layer
        return "reads" if axis == 1 else "writes"
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
    if operation == "einsum":
        return "reads" if _summed(use, operand, axis) else "writes"
    known = taught(step.operation)
    return known.role(use, argument, operand, axis, ROLES) if known else "writes"


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
    for axis in flow.axes.get(space, ()):
        beside = _beside(axis.layout, space, before=True)
        found += [] if beside is None else [beside]
    for layouts in flow.values.get(space, ()):
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
