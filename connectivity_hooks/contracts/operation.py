"""What one operation does to neurons, taught to the analysis of structure by a plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from connectivity_hooks.structure.teaching import Axes, Group, Operand, Operands, Role, Use


class Operation(ABC):
    """Teaches one operation that the built-in tables have no row for.

    Without a row the neurons that an operation reads, and those it gives, stay where they are. What the tables know is
    asked first. What is taught is tried: groups that do not hold on random weights are made smaller and named.
    `connectivity_hooks.structure.teaching` has the built-in rules to make rules of.

    Attributes:
        name: Namespace and name without the overload, as messages have it: ``mylib.swish``, ``aten.erfc``.
    """

    name: ClassVar[str]

    @abstractmethod
    def axes(self, operands: Operands) -> Axes:
        """Return the axes of the operation's value, made of those it reads; a tuple of axes for several tensors.

        Axes that meet entry by entry are set equal, axes whose order matters are pinned.

        Args:
            operands: The operation's arguments, with the axes of those that are tensors.
        """

    def leaves(self, use: Use) -> Group:
        """Return which moves of the neurons of one space go through the operation; permutations by default.

        Args:
            use: The operation, and where among its arguments the neurons are.
        """
        from connectivity_hooks.structure.teaching import S

        return S

    def role(self, use: Use, argument: str, operand: Operand, axis: int) -> Role:
        """Return what a weight among the arguments does along an axis of neurons: give them their values, by default.

        Args:
            use: The operation, and where among its arguments the neurons are.
            argument: Name of the argument.
            operand: The weight.
            axis: Number of the axis.
        """
        return "writes"
