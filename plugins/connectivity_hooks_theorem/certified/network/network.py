"""Whose neurons are whose: a program's values and layers, by the space that each one's neurons belong to.

A *space* (`connectivity_hooks.structure.spaces`) is here a set of neurons that are cut in two as one: the output of an
affine map and all that acts on it neuron by neuron. Where a grouped convolution reads channels, its groups are the
neurons, and what is inside a group goes with it. The input and the outputs are spaces that stay whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectivity_hooks.structure import Axis, Program, Space, Step
from connectivity_hooks_theorem.certified.network.cuts import Cut


@dataclass(frozen=True)
class Layer:
    """The weights of one step.

    Attributes:
        step: The step.
        rows: The first axis of each of its tensors.
        cols: The second axis of ``weight``, the neurons it reads; None where each neuron reads itself alone.
    """

    step: Step
    rows: Axis
    cols: Axis | None


@dataclass(frozen=True)
class Network:
    """A program with its spaces and cuts.

    Attributes:
        program: The steps.
        spaces: The spaces.
        axes: For each value's name the space of its channels.
        layers: The steps with weights, in order.
        cuts: Where a sub-network can take over: cut 0 at the input, the last before the output layer.
        output: The output layer; what follows it is linear.
    """

    program: Program
    spaces: tuple[Space, ...]
    axes: Mapping[str, Axis]
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    output: Layer

    @property
    def residual(self) -> bool:
        """Whether values are added, so that a neuron carries on what was there before."""
        return any(step.kind == "add" for step in self.program.steps)

    @property
    def classes(self) -> int:
        """Outputs C."""
        return self.spaces[self.output.rows.space].width

    def cut_spaces(self, cut: int) -> tuple[int, ...]:
        """Return the spaces of the values at a cut."""
        return tuple(dict.fromkeys(self.axes[value].space for value in self.cuts[cut].values))

    def read_once(self) -> dict[int, int]:
        """Return the spaces that are at one cut alone, and their cuts."""
        at = [(space, cut) for cut in range(1, len(self.cuts)) for space in self.cut_spaces(cut)]
        seen = [space for space, _ in at]
        return {space: cut for space, cut in at if seen.count(space) == 1 and not self.spaces[space].whole}
