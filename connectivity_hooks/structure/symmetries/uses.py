"""A step as the effects see it: where among its arguments the neurons of one space are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from connectivity_hooks.structure.layouts import Layout
from connectivity_hooks.structure.program import Operand, Program, Step
from connectivity_hooks.structure.spaces import Spaces
from connectivity_hooks.structure.symmetries.plain_maps import with_plain_maps


@dataclass(frozen=True)
class Flow:
    """A program, its spaces, and who reads each value.

    Attributes:
        program: The steps.
        spaces: Whose neurons are whose.
        readers: For each value's name the steps that read it.
        users: For each weight's name the steps that read it, under whatever name.
    """

    program: Program
    spaces: Spaces
    readers: Mapping[str, tuple[Step, ...]]
    users: Mapping[str, tuple[Step, ...]]

    @classmethod
    def of(cls, program: Program, spaces: Spaces) -> Flow:
        """Gather who reads what, in a program seen as `with_plain_maps` does."""
        program = with_plain_maps(program)
        readers: dict[str, list[Step]] = {}
        users: dict[str, list[Step]] = {}
        for step in program.steps:
            for name in dict.fromkeys(step.inputs):
                readers.setdefault(name, []).append(step)
            for name in dict.fromkeys(step.weights.values()):
                users.setdefault(name, []).append(step)
        return cls(program, spaces, _frozen(readers), _frozen(users))

    @cached_property
    def _steps(self) -> Mapping[str, Step]:
        return {step.name: step for step in self.program.steps}

    def step(self, value: str) -> Step | None:
        """Return the step that computes a value; None for an input."""
        return self._steps.get(value)

    @property
    def output(self) -> str:
        """Name of the value that the model returns."""
        return self.program.steps[-1].name

    @property
    def tied(self) -> frozenset[str]:
        """Names of weights that have a second name, which would change with the first."""
        return frozenset(self.program.tied) | frozenset(self.program.tied.values())

    def layouts(self, operand: Operand) -> tuple[Layout, ...]:
        """Return what each axis of a tensor is made of; empty where it is not known, as for several tensors."""
        if operand.source == "constant":
            return ()
        table = self.spaces.values if operand.source == "value" else self.spaces.weights
        return table.get(operand.name, ())


def _frozen(lists: Mapping[str, Sequence[Step]]) -> dict[str, tuple[Step, ...]]:
    return {name: tuple(steps) for name, steps in lists.items()}


@dataclass(frozen=True)
class Use:
    """One step, as it uses the neurons of one space."""

    flow: Flow
    step: Step
    space: int

    def argument(self, name: str, default: Any = None) -> Any:
        """Return an argument that is no tensor; the default where it is not given, or None."""
        found = self.step.arguments.get(name)
        return default if found is None else found

    def operand(self, name: str) -> Operand | None:
        """Return a tensor argument by its name."""
        found = self.step.arguments.get(name)
        return found if isinstance(found, Operand) else None

    def operands(self) -> Iterator[tuple[str, Operand]]:
        """Yield every tensor argument with its name; lists of tensors under the list's name."""
        for name, value in self.step.arguments.items():
            for operand in _inside(value):
                yield name, operand

    def holders(self) -> list[tuple[str, Operand]]:
        """Return the tensor arguments that hold neurons of the space."""
        return [(name, operand) for name, operand in self.operands() if self.axes(operand)]

    def axes(self, operand: Operand | None) -> tuple[int, ...]:
        """Return the axes of a tensor in which the space's neurons are."""
        if operand is None:
            return ()
        return axes_with(self.flow.layouts(operand), self.space)

    def rank(self, operand: Operand) -> int:
        """Return how many axes a tensor has."""
        return len(self.flow.layouts(operand))

    @property
    def given(self) -> tuple[int, ...]:
        """Axes of the first tensor argument that hold the space's neurons."""
        return next((self.axes(operand) for _, operand in self.operands()), ())

    @property
    def out(self) -> tuple[int, ...]:
        """Axes of the step's value that hold the space's neurons."""
        return axes_with(self.flow.spaces.values.get(self.step.name, ()), self.space)

    def over(self) -> set[int]:
        """Return the axes of the first tensor argument that a reduction is over."""
        _, first = next(self.operands())
        rank = self.rank(first)
        dims = self.argument("dim", list(range(rank)))
        found = {dim % rank for dim in (dims if isinstance(dims, (tuple, list)) else [dims])} if rank else set()
        return found or set(range(rank))


def axes_with(layouts: Sequence[Layout], space: int) -> tuple[int, ...]:
    """Return the numbers of the axes whose layouts hold neurons of a space."""
    return tuple(n for n, layout in enumerate(layouts) if any(leaf.space == space for leaf in layout.leaves()))


def _inside(value: Any) -> Iterator[Operand]:
    if isinstance(value, Operand):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _inside(one)
