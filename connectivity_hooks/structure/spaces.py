"""Which axes of which weights and values are the same neurons, read from a program alone.

A *space* is a set of neurons: the output channels of a map, and all that acts on them neuron by neuron, is added to
them, or reads them. Exchanging the neurons of a space in every axis that belongs to it leaves the function as it is,
for whatever weights; spaces that are pinned stay as they are: the input, the outputs, and what an operation without a
row in `axis_rules`, and of which no plugin teaches anything, reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure.axis_rules.operands import Axes, Operands, Rule, unknown
from connectivity_hooks.structure.axis_rules.table import ONE_NUMBER, RULES
from connectivity_hooks.structure.axis_rules.told_apart import told_apart
from connectivity_hooks.structure.layouts import Joined, Layout, Neurons, Permutations, Reshape
from connectivity_hooks.structure.program import Operand, Program, Step
from connectivity_hooks.structure.taught import taught
from connectivity_hooks.structure.terms import POSITIONS, Atom, Family, Product, Term, pin, positions, resolved

INPUTS = "the input"
OUTPUTS = "the outputs"


@dataclass(frozen=True)
class Space:
    """A set of neurons.

    Attributes:
        name: Name of the weights that make it, for messages; of what it is pinned by where no weight does.
        width: How many neurons.
        pins: Why they stay where they are: the input, the outputs, operations; empty where they may be exchanged.
    """

    name: str
    width: int
    pins: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether its neurons stay where they are."""
        return bool(self.pins)


@dataclass(frozen=True)
class Axis:
    """An axis whose entries are the neurons of a space, each `spread` entries wide (positions, once flattened)."""

    space: int
    spread: int = 1

    def entries(self, neurons: Tensor) -> Tensor:
        """Return the indices along the axis that belong to `neurons`."""
        if self.spread == 1:
            return neurons
        return (neurons[:, None] * self.spread + torch.arange(self.spread, device=neurons.device)).flatten()


@dataclass(frozen=True)
class WeightAxis:
    """An axis of a weight.

    Attributes:
        weight: The weight's name.
        number: The axis.
        layout: What its entries are.
    """

    weight: str
    number: int
    layout: Layout


@dataclass(frozen=True)
class Spaces:
    """The spaces of a program, and where they are.

    Attributes:
        spaces: The spaces, in the order in which the steps meet them.
        weights: For each weight's name what each of its axes is made of.
        values: For each value's name, inputs included, the same, the batch axis and all; a step that gives several
            tensors is left out.
    """

    spaces: tuple[Space, ...]
    weights: Mapping[str, tuple[Layout, ...]]
    values: Mapping[str, tuple[Layout, ...]]

    @property
    def free(self) -> tuple[int, ...]:
        """Numbers of the spaces of weights whose neurons may be exchanged."""
        held = {leaf.space for layouts in self.weights.values() for layout in layouts for leaf in layout.leaves()}
        whole = (number for number, space in enumerate(self.spaces) if space.whole or space.width < 2)
        return tuple(sorted({number for number in held if number is not None}.difference(whole)))

    def axes_of(self, space: int) -> Iterator[WeightAxis]:
        """Yield the axes of weights in which neurons of a space are."""
        for weight, layouts in self.weights.items():
            for number, layout in enumerate(layouts):
                if any(leaf.space == space for leaf in layout.leaves()):
                    yield WeightAxis(weight, number, layout)

    def permuted(self, weights: Mapping[str, Tensor], permutations: Permutations) -> dict[str, Tensor]:
        """Return the weights of the same function with neurons exchanged.

        Args:
            weights: Weights by name; those the program does not read stay.
            permutations: For each space that is permuted the old number of each neuron.
        """
        found = dict(weights)
        for name, layouts in self.weights.items():
            for number, layout in enumerate(layouts):
                if any(leaf.space in permutations for leaf in layout.leaves()):
                    found[name] = found[name].index_select(number, layout.indices(permutations).to(found[name].device))
        return found


def leading(layout: Layout) -> Axis | None:
    """Return an axis as neurons of its slowest space, each as wide as what runs inside it; None if that is no space."""
    if isinstance(layout, Reshape):
        first = layout.factors[0]
        inside = Reshape(layout.factors[1:]).width
    else:
        first, inside = layout, 1
    return Axis(first.space, inside) if isinstance(first, Neurons) and first.space is not None else None


def read_spaces(program: Program) -> Spaces:
    """Read which axes of a program's weights and values are the same neurons.

    Time: proportional to the steps; nothing is run.

    Raises:
        InputError: A value's shape depends on the data.
    """
    known: dict[Operand, Any] = {}
    apart, items = told_apart(program), _items(program)
    alike = frozenset(Operand("value", step.name) for step in program.steps if step.operation in ONE_NUMBER)
    for name, shape in program.shapes.items():
        known[Operand("value", name)] = (positions(program.batch), *(Atom(size, (INPUTS,)) for size in shape))
    for name, shape in program.weight_shapes.items():
        known[Operand("weight", name)] = tuple(map(Atom, shape))
    for step in program.steps:
        for role, tensor in step.constants.items():
            reason = f"a constant of {step.module}"
            known[Operand("constant", role)] = tuple(Atom(size, (reason,)) for size in tensor.shape)
        known[Operand("value", step.name)] = _axes(
            Operands(step, known, apart.get(step.name), alike, items.get(step.name, frozenset()))
        )
    for term in known[Operand("value", program.steps[-1].name)]:
        pin(term, (OUTPUTS,))
    return _Numbering(program, known).spaces()


def _items(program: Program) -> dict[str, frozenset[int]]:
    """Return for each step that gives several tensors the numbers of those that are read."""
    found: dict[str, set[int]] = {}
    for step in program.steps:
        if step.operation == "getitem":
            found.setdefault(step.arguments["0"].name, set()).add(step.arguments["1"])
    return {name: frozenset(numbers) for name, numbers in found.items()}


def _axes(operands: Operands) -> Any:
    """Return the axes of a step's value by its rule; where that does not fit, everything it touches stays."""
    step = operands.step
    sizes = step.whole_shape or ()
    if -1 in sizes or any(isinstance(one, tuple) and -1 in one for one in sizes):
        raise InputError(f"the model's spaces cannot be read: the shape of {operands.place} depends on the data")
    axes = (RULES.get(step.operation) or _taught(step.operation) or unknown)(operands)
    return axes if _sizes(axes) == _sizes_of(step) else unknown(operands)


def _taught(operation: str) -> Rule | None:
    known = taught(operation)
    return known.axes if known else None


def _sizes(axes: Any) -> Any:
    return tuple(_sizes(one) if isinstance(one, tuple) else one.size for one in axes)


def _sizes_of(step: Step) -> Any:
    return tuple(one or () if isinstance(one, tuple) or one is None else one for one in step.whole_shape or ())


class _Numbering:
    """Gives the atoms that are left their numbers, in the order in which the steps meet them."""

    def __init__(self, program: Program, known: Mapping[Operand, Any]) -> None:
        self._program = program
        self._known = known
        self._numbers: dict[Atom, int] = {}
        self._found: list[Space] = []

    def spaces(self) -> Spaces:
        values = {name: self._layouts(Operand("value", name), name) for name in self._program.shapes}
        weights: dict[str, tuple[Layout, ...]] = {}
        for step in self._program.steps:
            for name in step.weights.values():
                weights[name] = self._layouts(Operand("weight", name), name)
            if self._is_told(Operand("value", step.name), step):
                values[step.name] = self._layouts(Operand("value", step.name), _name(step))
        weights.update({name: weights[own] for name, own in self._program.tied.items()})
        return Spaces(tuple(self._found), weights, values)

    def _is_told(self, operand: Operand, step: Step) -> bool:
        """Say whether a step gives one tensor, each axis of which has one layout."""
        if not isinstance(step.whole_shape, tuple) or not all(isinstance(size, int) for size in step.whole_shape):
            return False
        return not any(isinstance(term, Family) for term in self._known[operand])

    def _layouts(self, operand: Operand, name: str) -> tuple[Layout, ...]:
        axes: Axes = self._known[operand]
        return tuple(self._layout(resolved(term), name) for term in axes)

    def _layout(self, term: Term, name: str) -> Layout:
        if isinstance(term, Atom):
            return Neurons(self._number(term, name), term.size)
        if isinstance(term, Product):
            return Reshape(tuple(self._layout(resolved(factor), name) for factor in term.factors))
        return Joined(tuple(self._layout(resolved(part), name) for part in term.parts))

    def _number(self, atom: Atom, name: str) -> int | None:
        if POSITIONS in atom.pins:
            return None
        if atom not in self._numbers:
            self._numbers[atom] = len(self._found)
            self._found.append(Space(INPUTS if INPUTS in atom.pins else name, atom.size, tuple(atom.pins)))
        return self._numbers[atom]


def _name(step: Step) -> str:
    return next(iter(step.weights.values()), step.module)
