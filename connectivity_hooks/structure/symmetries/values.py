"""Where in a value the neurons of a space are, and taking them out as rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from connectivity_hooks.structure.layouts import Layout, Neurons, Reshape
from connectivity_hooks.structure.spaces import Spaces
from connectivity_hooks.structure.symmetries.positions import occurs_once, positions_in
from connectivity_hooks.structure.symmetries.symmetry import Symmetry
from connectivity_hooks.structure.symmetries.uses import axes_with


@dataclass(frozen=True, eq=False)
class Along:
    """Neurons along one axis of a value.

    Attributes:
        axis: Number of the axis.
        width: Entries of the axis without the positions in front.
        positions: Indices among these entries, (K, r, n), see `Member`.
        in_front: Whether there are positions in front of the neurons along the axis, such as samples, of which there
            may be as many as there are.
    """

    axis: int
    width: int
    positions: Tensor
    in_front: bool = False

    def apart(self, value: Tensor, axis: int) -> Tensor:
        """Return a value whose `axis` is this one, cut into two: positions in front, and entries.

        Raises:
            ValueError: The axis has another width.
        """
        size = value.shape[axis]
        if size % self.width or (size > self.width and not self.in_front):
            raise ValueError(f"an axis of {size} entries, expected {self.width} at each position in front")
        cut: Tensor = value.unflatten(axis, (size // self.width, self.width))
        return cut

    def taken(self, entries: Tensor) -> Tensor:
        """Return (…, K, r, n) of entries (…, width); a view where the neurons stand there in order."""
        copies, wide, neurons = self.positions.shape
        in_order = wide == 1 and self._in_order
        found: Tensor = (
            entries.unflatten(-1, (copies, 1, neurons)) if in_order else entries[..., self.positions.to(entries.device)]
        )
        return found

    @cached_property
    def _in_order(self) -> bool:
        return self.positions.flatten().tolist() == list(range(self.width))


@dataclass(frozen=True, eq=False)
class Held:
    """The neurons of a symmetry in a value.

    Attributes:
        neurons: Where they are; with `copies` those of one copy.
        copies: Where the neurons are that number the copies; None where that is the same axis, or there is one copy.
    """

    neurons: Along
    copies: Along | None = None

    def rows(self, value: Tensor) -> Tensor:
        """Return (K, S, n): of each copy what its n neurons are at S samples, tokens, pixels and the like.

        Raises:
            ValueError: The value has not the layout it was read with.
        """
        axis = self.neurons.axis
        if self.copies is None:
            entries = self.neurons.apart(value.movedim(axis, -1), -1)
            return self.neurons.taken(entries).movedim(-3, 0).flatten(1, -2)
        both = value.movedim((axis, self.copies.axis), (-2, -1))
        copies = self.copies.taken(self.copies.apart(both, -1)).movedim(-1, 0)  # (K, …, entries, positions, 1, r)
        entries = self.neurons.apart(copies.movedim(-4, -1), -1)
        return self.neurons.taken(entries).flatten(1, -2)


def held(spaces: Spaces, value: str, symmetry: Symmetry) -> Held | None:
    """Return where the neurons of a symmetry are in a value; None where they are in no axis of it, or in several.

    Args:
        spaces: The network's.
        value: Name of the value.
        symmetry: The symmetry.
    """
    layouts = spaces.values.get(value, ())
    axes = axes_with(layouts, symmetry.space)
    if len(axes) != 1 or not occurs_once(layouts[axes[0]], symmetry.space):
        return None
    if symmetry.outer is None:
        return Held(_along(layouts[axes[0]], axes[0], symmetry.space))
    outer = axes_with(layouts, symmetry.outer)
    if len(outer) != 1 or not occurs_once(layouts[outer[0]], symmetry.outer):
        return None
    if outer == axes:
        return Held(_along(layouts[axes[0]], axes[0], symmetry.space, symmetry.outer))
    copies = _along(layouts[outer[0]], outer[0], symmetry.outer)
    return Held(_along(layouts[axes[0]], axes[0], symmetry.space), copies)


def _along(layout: Layout, axis: int, space: int, outer: int | None = None) -> Along:
    inner = _without_leading_positions(layout)
    return Along(axis, inner.width, positions_in(inner, space, outer), in_front=inner.width < layout.width)


def _without_leading_positions(layout: Layout) -> Layout:
    """Leave out positions in front, among which may be the samples: a batch need not be as large as that traced."""
    if not isinstance(layout, Reshape):
        return layout
    factors = layout.factors
    while isinstance(factors[0], Neurons) and factors[0].space is None:
        factors = factors[1:]
    return factors[0] if len(factors) == 1 else Reshape(factors)
