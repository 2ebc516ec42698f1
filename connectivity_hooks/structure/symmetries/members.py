"""Where in the weights the neurons of a space are, entry by entry, and what part each weight has in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from connectivity_hooks.structure.layouts import Joined, Layout, Neurons
from connectivity_hooks.structure.program import Operand, Step
from connectivity_hooks.structure.symmetries.factors import unscaled_axes
from connectivity_hooks.structure.symmetries.uses import Flow, Use
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
        takes_factors: Whether it takes part where neurons are multiplied by numbers: kernels and statistics do not, and
            what makes the input of a batch norm does not, since γ and β take the factor after it.
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
    roles, unscaled = roles_of(flow, space), unscaled_axes(flow, space) or set()
    found = []
    for weight, layouts in flow.spaces.weights.items():
        if weight in flow.program.tied:
            continue
        for axis, layout in enumerate(layouts):
            if any(leaf.space == space for leaf in layout.leaves()):
                positions = positions_in(layout, space, outer)
                own = frozenset(roles.get((weight, axis), {"writes"}))
                takes = not own & _WITHOUT_FACTORS and (weight, axis) not in unscaled
                found.append(Member(weight, axis, positions, own, takes))
    return found


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
    if operation.endswith("_norm"):
        return _STATISTICS.get(argument, "scales")
    if operation == "mul":
        return "scales" if len(use.holders()) > 1 else "writes"
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
    known = taught(step.operation)
    return known.role(use, argument, operand, axis, ROLES) if known else "writes"


def _in_product(argument: str, axis: int, last: int) -> Role:
    if argument in ("mat1", "self", "batch1"):
        return "reads" if axis == last else "writes"
    return "reads" if axis == max(0, last - 1) else "writes"


def copies_of(flow: Flow, space: int) -> int | None:
    """Return the space whose neurons number independent copies of this one, as heads do; None where there is one copy.

    Every tensor that holds neurons of the one has to hold the other, weights along the same axis: then no operation
    brings neurons of two copies together.
    """
    candidates: set[int] | None = None
    for layouts in flow.spaces.weights.values():
        for layout in layouts:
            candidates = _narrowed(candidates, space, [layout])
    for layouts in flow.spaces.values.values():
        candidates = _narrowed(candidates, space, list(layouts))
    sizes = {number: flow.spaces.spaces[number].width for number in candidates or ()}
    wide = {number: width for number, width in sizes.items() if width > 1}
    return max(wide, key=lambda number: (wide[number], -number), default=None)


def _narrowed(candidates: set[int] | None, space: int, layouts: list[Layout]) -> set[int] | None:
    """Keep the spaces whose neurons are in a tensor too; along one axis, those that run more slowly."""
    leaves = [leaf.space for leaf in _leaves(layouts) if leaf.space is not None]
    if space not in leaves:
        return candidates
    others = set(leaves[: leaves.index(space)] if len(layouts) == 1 else leaves) - {space}
    return others if candidates is None else candidates & others


def _leaves(layouts: list[Layout]) -> Iterator[Neurons]:
    for layout in layouts:
        yield from layout.leaves()
