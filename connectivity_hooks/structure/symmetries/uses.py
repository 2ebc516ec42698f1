"""A step as the effects see it: where among its arguments the neurons of one space are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from connectivity_hooks.structure.layouts import Layout
from connectivity_hooks.structure.program import Operand, Program, Step
from connectivity_hooks.structure.spaces import Spaces, WeightAxis
from connectivity_hooks.structure.symmetries.plain_maps import with_plain_maps

_Thing = TypeVar("_Thing")
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Flow:
    """A program, its spaces, and who reads each value.

    Attributes:
        program: The steps.
        spaces: Whose neurons are whose.
        readers: For each value's name the steps that read it.
        users: For each weight's name the steps that read it, under whatever name.
        steps: The steps by the names of their values.
        using: For each space the steps that read or give its neurons, in order.
        axes: For each space the axes of weights in which its neurons are.
        values: For each space the layouts of each value that holds its neurons.
    """

    program: Program
    spaces: Spaces
    readers: Mapping[str, tuple[Step, ...]]
    users: Mapping[str, tuple[Step, ...]]
    steps: Mapping[str, Step]
    using: Mapping[int, tuple[Step, ...]]
    axes: Mapping[int, tuple[WeightAxis, ...]]
    values: Mapping[int, tuple[tuple[Layout, ...], ...]]

    @classmethod
    def of(cls, program: Program, spaces: Spaces) -> Flow:
        """Gather who reads what, once for all spaces, in a program seen as `with_plain_maps` does.

        A large network has thousands of steps and hundreds of spaces.
        """
        program = with_plain_maps(program)
        readers: dict[str, list[Step]] = {}
        users: dict[str, list[Step]] = {}
        for step in program.steps:
            for name in dict.fromkeys(step.inputs):
                readers.setdefault(name, []).append(step)
            for name in dict.fromkeys(step.weights.values()):
                users.setdefault(name, []).append(step)
        axes = [WeightAxis(name, n, one) for name, layouts in spaces.weights.items() for n, one in enumerate(layouts)]
        return cls(
            program,
            spaces,
            _frozen(readers),
            _frozen(users),
            steps={step.name: step for step in program.steps},
            using=_by_space((step, _touched(step, spaces)) for step in program.steps),
            axes=_by_space((axis, _spaces_of([axis.layout])) for axis in axes),
            values=_by_space((layouts, _spaces_of(layouts)) for layouts in spaces.values.values()),
        )

    def step(self, value: str) -> Step | None:
        """Return the step that computes a value; None for an input."""
        return self.steps.get(value)

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


def _frozen(lists: Mapping[_Key, Sequence[_Thing]]) -> dict[_Key, tuple[_Thing, ...]]:
    return {name: tuple(steps) for name, steps in lists.items()}


def _by_space(things: Iterable[tuple[_Thing, set[int]]]) -> dict[int, tuple[_Thing, ...]]:
    found: dict[int, list[_Thing]] = {}
    for thing, numbers in things:
        for number in numbers:
            found.setdefault(number, []).append(thing)
    return _frozen(found)


def _spaces_of(layouts: Iterable[Layout]) -> set[int]:
    return {leaf.space for layout in layouts for leaf in layout.leaves() if leaf.space is not None}


def _touched(step: Step, spaces: Spaces) -> set[int]:
    """Return the spaces whose neurons a step reads or gives."""
    values = [spaces.values.get(name, ()) for name in (*step.inputs, step.name)]
    weights = [spaces.weights.get(name, ()) for name in step.weights.values()]
    return _spaces_of(layout for layouts in (*values, *weights) for layout in layouts)


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
    def first(self) -> Operand | None:
        """The tensor that is worked on: the input, or the first one; arguments with defaults come first among all."""
        named = self.operand("input") or self.operand("self")
        return named or next((operand for _, operand in self.operands()), None)

    @property
    def given(self) -> tuple[int, ...]:
        """Axes of the tensor that is worked on which hold the space's neurons."""
        return self.axes(self.first)

    @property
    def out(self) -> tuple[int, ...]:
        """Axes of the step's value that hold the space's neurons."""
        return axes_with(self.flow.spaces.values.get(self.step.name, ()), self.space)

    def over(self) -> set[int]:
        """Return the axes of the tensor that is worked on which a reduction is over."""
        first = self.first
        rank = self.rank(first) if first is not None else 0
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
