"""Operations that plugins teach: asked where the built-in tables have no row."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connectivity_hooks.contracts.operation import Operation
from connectivity_hooks.errors import InputError
from connectivity_hooks.registry.registry import registry
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.structure.axis_rules.operands import Operands
from connectivity_hooks.structure.terms import Atom, Concatenation, Product
from connectivity_hooks.warning import warn_unraised

if TYPE_CHECKING:
    from connectivity_hooks.structure.program import Operand
    from connectivity_hooks.structure.symmetries.groups import Group
    from connectivity_hooks.structure.symmetries.members import Role
    from connectivity_hooks.structure.symmetries.uses import Use


def taught(operation: str) -> Taught | None:
    """Return what a plugin teaches of an operation, by its name as in `Step.operation`; None where none does."""
    entry = registry().operations.get(operation)
    return None if entry is None else Taught(entry.cls(), str(entry.origin))


def say_known(known: Collection[str]) -> None:
    """Warn of operations that plugins teach and the built-in tables know: what is taught of them is not asked for.

    Args:
        known: The operations that have a row in every table.
    """
    for name, entry in registry().operations.items():
        if name in known:
            _say_known(name, str(entry.origin))


@functools.cache
def _say_known(name: str, origin: str) -> None:
    warn_unraised(
        f"operation {name}, taught by {origin}, has built-in rows, which are used; leave it out of the plugin"
    )


@dataclass(frozen=True)
class Taught:
    """An operation of a plugin, whose code may raise anything and return anything.

    Attributes:
        operation: The plugin's.
        origin: The plugin, for messages.
    """

    operation: Operation
    origin: str

    def axes(self, operands: Operands) -> Any:
        """Return the axes of a step's value, see `Operation.axes`.

        Raises:
            InputError: The plugin's rule fails, or returns something else.
        """
        with self._guarded("axes"):
            found = self.operation.axes(operands)
        if not _are_axes(found):
            raise self._wrong("axes", found, "a tuple of axes")
        return found

    def leaves(self, use: Use, every: Group) -> Group:
        """Return what an operation leaves of a group, see `Operation.leaves`.

        Args:
            use: The operation as it uses one space.
            every: All moves there are.

        Raises:
            InputError: The plugin's rule fails, or returns something else.
        """
        with self._guarded("leaves"):
            found = self.operation.leaves(use)
        if not isinstance(found, type(every)):
            raise self._wrong("leaves", found, "a Group")
        return found

    def role(self, use: Use, argument: str, operand: Operand, axis: int, known: tuple[Role, ...]) -> Role:
        """Return what a weight does along an axis, see `Operation.role`.

        Args:
            use: The operation as it uses one space.
            argument: Name of the argument.
            operand: The weight.
            axis: Number of the axis.
            known: All roles there are.

        Raises:
            InputError: The plugin's rule fails, or returns something else.
        """
        with self._guarded("role"):
            found = self.operation.role(use, argument, operand, axis)
        if found not in known:
            raise self._wrong("role", found, f"one of {', '.join(known)}")
        return found

    @contextmanager
    def _guarded(self, rule: str) -> Iterator[None]:
        with guarded_call(f"operation {self.operation.name}, taught by {self.origin}: {rule} fails"):
            yield

    def _wrong(self, rule: str, found: object, expected: str) -> InputError:
        name = f"operation {self.operation.name}, taught by {self.origin}"
        return InputError(f"{name}: {rule} returns {found!r:.60}, expected {expected}")


def _are_axes(found: Any) -> bool:
    """Say whether something is a tuple of terms, or of such tuples."""
    if not isinstance(found, tuple):
        return False
    return all(isinstance(one, (Atom, Product, Concatenation)) or _are_axes(one) for one in found)
