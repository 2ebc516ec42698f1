"""Symmetries as data: which neurons, which group, where in the weights, and what has to be folded first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from connectivity_hooks.structure.spaces import Spaces
from connectivity_hooks.structure.symmetries.groups import ROTATIONS, Group, S, name_of
from connectivity_hooks.structure.symmetries.members import Member
from connectivity_hooks.structure.symmetries.scales import Scale


@dataclass(frozen=True, eq=False)
class Symmetry:
    """What may be done to the neurons of one space.

    Attributes:
        space: Number of the space.
        name: Name of the weights that make it.
        group: What may be done to them, to each copy by itself.
        width: How many neurons, n.
        copies: How many copies of them, K; 1 for most, the number of heads for what is inside heads.
        outer: The space whose neurons number the copies; None where there is one copy.
        members: Where they are in the weights.
        scales: Scales that have to be folded into the maps that read them before anything but permutations is done.
        causes: What keeps the group from being larger, in words: operation, module and what it leaves.
    """

    space: int
    name: str
    group: Group
    width: int
    copies: int
    outer: int | None
    members: tuple[Member, ...]
    scales: tuple[Scale, ...] = ()
    causes: tuple[str, ...] = ()

    def carrying(self, group: Group) -> Symmetry:
        """Return the same with a group inside its own; what moves factors as they are needs nothing folded."""
        return (
            self if group == self.group else replace(self, group=group, scales=self.scales if group & ROTATIONS else ())
        )

    @property
    def title(self) -> str:
        """The group in its usual name, with the number of copies."""
        return name_of(self.group) + (f" × {self.copies}" if self.copies > 1 else "")


@dataclass(frozen=True, eq=False)
class Symmetries:
    """The symmetries of a network.

    Attributes:
        spaces: Its spaces, the pinned ones too.
        symmetries: One for each space whose neurons may be moved.
        tied: For each further name of a weight its own.
        shapes: Shapes of the weights that the network reads.
    """

    spaces: Spaces
    symmetries: tuple[Symmetry, ...]
    tied: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    def of(self, space: int) -> Symmetry | None:
        """Return the symmetry of a space; None where it is pinned."""
        return next((each for each in self.symmetries if each.space == space), None)

    def inside(self, space: int) -> tuple[Symmetry, ...]:
        """Return the symmetries whose copies are numbered by the neurons of a space, as those inside heads are."""
        return tuple(each for each in self.symmetries if each.outer == space and each.copies > 1)

    @property
    def moving(self) -> frozenset[str]:
        """Names of the weights that some symmetry moves."""
        return frozenset(member.weight for each in self.symmetries for member in each.members)

    @property
    def coverage(self) -> float:
        """Share of the network's weights that lie in a tensor which some symmetry moves."""
        sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        return sum(sizes[name] for name in self.moving) / max(1, sum(sizes.values()))

    def completed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights whose further names have the values of their own names again."""
        return {**weights, **{name: weights[own] for name, own in self.tied.items() if name in weights}}

    def permutations_alone(self, numbers: frozenset[int]) -> Symmetries:
        """Return the same with nothing but permutations for some spaces, by number."""
        found = (each.carrying(S) if each.space in numbers else each for each in self.symmetries)
        return replace(self, symmetries=tuple(found))
