"""A step as the rules for axes see it: its arguments, with the axes of those that are tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from connectivity_hooks.structure.program import Operand, Shape, Step
from connectivity_hooks.structure.terms import Atom, Term, pin, positions, unify

Axes: TypeAlias = tuple[Term, ...]
"""A tensor's axes, the batch axis and all."""


@dataclass(frozen=True)
class Operands:
    """A step and the axes of what it reads.

    Attributes:
        step: The step.
        known: Axes of every value, weight and constant so far; of a step that gives several tensors, a tuple of axes.
        apart: The axis of its value whose entries are taken apart before anything else is done, see `told_apart`.
        alike: Values that are one number everywhere.
        items: Numbers of the tensors that are read of those that it gives.
    """

    step: Step
    known: Mapping[Operand, Any]
    apart: int | None = None
    alike: frozenset[Operand] = frozenset()
    items: frozenset[int] = frozenset()

    def argument(self, name: str, default: Any = None) -> Any:
        """Return an argument that is no tensor; the default where it is not given, or None."""
        found = self.step.arguments.get(name)
        return default if found is None else found

    def axes(self, name: str) -> Axes:
        """Return the axes of a tensor argument; empty where it is not given, and for a number."""
        found = self.step.arguments.get(name)
        return self.known[found] if isinstance(found, Operand) else ()

    def listed(self, name: str) -> list[Axes]:
        """Return the axes of each tensor in an argument that is a list; empty ones for what is no tensor."""
        return [self.known[one] if isinstance(one, Operand) else () for one in self.argument(name, ())]

    def has(self, name: str) -> bool:
        """Say whether a tensor argument is given."""
        return isinstance(self.step.arguments.get(name), Operand)

    def each(self) -> Iterator[Axes]:
        """Yield the axes of every tensor it reads, wherever among its arguments."""
        for operand in _operands(self.step.arguments.values()):
            yield from _tensors(self.known[operand])

    @property
    def shape(self) -> Shape:
        """Shape of the value, which is one tensor."""
        return self.step.whole_shape  # type: ignore[return-value]

    @property
    def gives_several(self) -> bool:
        """Whether the value is several tensors."""
        shape = self.step.whole_shape
        return bool(shape) and isinstance(shape[0], tuple)  # type: ignore[index]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the tensors that are the value."""
        return self.step.whole_shape  # type: ignore[return-value]

    @property
    def place(self) -> str:
        """The operation and its module, which is what pins."""
        return f"{self.step.operation} ({self.step.module})"

    def pin(self, terms: Iterable[Term]) -> None:
        """Let neurons stay where they are because of this step."""
        for term in terms:
            pin(term, (self.place,))


Rule: TypeAlias = Callable[[Operands], Any]
"""Returns the axes of a step's value, or a tuple of axes for several tensors."""


def unknown(operands: Operands) -> Any:
    """Pin everything an operation without a row reads, and what it gives."""
    for axes in operands.each():
        operands.pin(axes)
    return fixed(operands.step.whole_shape, operands.place)


def fixed(shape: Any, reason: str) -> Any:
    """Return new axes that stay, for a shape or several."""
    if shape is None:
        return ()
    if any(not isinstance(size, int) for size in shape):
        return tuple(fixed(one, reason) for one in shape)
    return tuple(Atom(size, (reason,)) for size in shape)


def broadcast(tensors: Iterable[Axes]) -> Axes:
    """Set the axes of tensors equal that meet entry by entry, aligned at their ends; return those of the result."""
    given = list(tensors)
    count = max((len(axes) for axes in given), default=0)
    found: list[Term] = []
    for back in range(count, 0, -1):
        here = [axes[-back] for axes in given if len(axes) >= back]
        wide = [term for term in here if term.size != 1] or here
        for other in wide[1:]:
            unify(wide[0], other)
        found.append(wide[0])
    return tuple(found)


def replaced(axes: Axes, number: int, term: Term) -> Axes:
    """Return axes with another term for one of them."""
    return (*axes[:number], term, *axes[number + 1 :])


def pixels(sizes: Sequence[int]) -> Axes:
    """Return new axes of positions."""
    return tuple(positions(size) for size in sizes)


def stay(terms: Iterable[Term]) -> None:
    """Let axes be positions."""
    for term in terms:
        unify(term, positions(term.size))


def _operands(values: Iterable[Any]) -> Iterator[Operand]:
    for value in values:
        if isinstance(value, Operand):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _operands(value)


def _tensors(axes: Any) -> Iterator[Axes]:
    if axes and isinstance(axes[0], tuple):
        for one in axes:
            yield from _tensors(one)
    else:
        yield axes
