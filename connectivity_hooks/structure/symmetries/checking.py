"""Running the network with random elements of its groups: what does not keep its outputs in float64 is no symmetry."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.model.inputs import Inputs, placed
from connectivity_hooks.model.precision import in_double
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.structure.symmetries.drawing import random_element, random_weights, some_negated
from connectivity_hooks.structure.symmetries.elements import Element
from connectivity_hooks.structure.symmetries.groups import Group, name_of, within
from connectivity_hooks.structure.symmetries.moving import transformed
from connectivity_hooks.structure.symmetries.rescaling import FarOff, relative_change
from connectivity_hooks.structure.symmetries.symmetry import Symmetries, Symmetry
from connectivity_hooks.structure.untouched import untouched

TOLERANCE = 1e-9
"""Of a change of outputs relative to the largest, in float64, as for alignments."""

DRAWS = 20
"""Of weights, until outputs are not all alike: behind a last ReLU half of all draws are asleep, which shows nothing."""


@dataclass(frozen=True, eq=False)
class Checked:
    """Symmetries that were tried.

    Attributes:
        symmetries: Those that held; a group that did not is smaller here, or gone.
        deviation: Largest change of an output under a random element of every group at once, relative to the largest
            output, in float64.
        refuted: In words, what was derived and did not hold.
    """

    symmetries: Symmetries
    deviation: float
    refuted: tuple[str, ...] = ()


def checked(symmetries: Symmetries, model: nn.Module, inputs: Inputs, run: Forward = PLAIN, seed: int = 0) -> Checked:
    """Apply a random element of every group to random weights, run the module in float64, and demote what changes it.

    The same is done with all tensors, and inputs, much larger or smaller: what is flat or straight next to zero, as
    rounding is, looks like a linear map there (`rescaling`).

    Time: nine passes where all hold, in most networks, five in large ones; else some for each group that is tried.

    Args:
        symmetries: What was derived.
        model: The module in float64, in evaluation mode; left as it was.
        inputs: Of a few samples.
        run: How the model is run.
        seed: Of weights and elements.

    Raises:
        InputError: The module does not run in float64.
    """
    return judged(Trial(symmetries, model, inputs, run, seed))


def judged(trial: Trial) -> Checked:
    """Demote what changes the outputs of a trial, see `checked`."""
    symmetries = trial.symmetries
    refuted: list[str] = []
    deviation, *far_off = trial.deviations(symmetries.symmetries)
    if max(deviation, *far_off, 0.0) <= TOLERANCE:
        return Checked(symmetries, deviation)
    kept = []
    for symmetry in symmetries.symmetries:
        found = trial.largest_that_holds(symmetry)
        if found is None or found.group != symmetry.group:
            holds = name_of(found.group) if found else "nothing"
            refuted.append(f"{symmetry.name}: {symmetry.title} was derived, {holds} holds")
        kept += [found] if found else []
    found_all = replace(symmetries, symmetries=tuple(kept))
    return Checked(found_all, trial.of(found_all).deviation(kept), tuple(refuted))


class Trial:
    """A module with random weights, and what random elements do to its outputs.

    Args:
        symmetries: The network's.
        model: The module in float64, in evaluation mode.
        inputs: Of a few samples.
        run: How the model is run.
        seed: Of weights and elements.

    Attributes:
        symmetries: As given.
        weights: The random weights.
    """

    def __init__(self, symmetries: Symmetries, model: nn.Module, inputs: Inputs, run: Forward, seed: int) -> None:
        self.symmetries, self._model, self._run, self._seed = symmetries, model, run, seed
        self._inputs = placed(inputs, dtype=torch.float64)
        generator = Generator().manual_seed(seed)
        drawn = random_weights(weights_of(model), generator)
        for _ in range(DRAWS):
            self.weights = symmetries.completed(drawn)
            self._expected = self.outputs(self.weights)
            if bool((self._expected != self._expected.flatten()[0]).any()):
                break
            drawn = some_negated(drawn, generator)
        self._far = FarOff(symmetries, self.weights, self._inputs, self.outputs, seed + 2)

    def of(self, symmetries: Symmetries) -> Trial:
        """Return a trial of other symmetries of the same network, on the same weights."""
        found = copy.copy(self)
        found.symmetries = symmetries
        return found

    @property
    def inputs(self) -> Inputs:
        """The inputs in float64."""
        return self._inputs

    @torch.no_grad()
    def outputs(self, weights: Mapping[str, Tensor], inputs: Inputs | None = None) -> Tensor:
        """Return the module's outputs under some weights, in float64 also where its code would cast to float32.

        Args:
            weights: In float64.
            inputs: Others than the trial's own, in float64.
        """
        inputs = self._inputs if inputs is None else inputs
        with untouched(self._model), in_double():
            try:
                return self._run.under(self._model, weights, inputs)
            except (RuntimeError, TypeError) as error:  # of an operation that has no float64 on this device
                reason = one_line(error)
                raise InputError(
                    f"symmetries are tried in float64, in which the model does not run: {reason}"
                ) from None

    def deviation(self, symmetries: Iterable[Symmetry], group: Group | None = None) -> float:
        """Return the largest change of an output under random elements of some symmetries, relative to the largest."""
        return next(self.deviations(symmetries, group))

    def deviations(self, symmetries: Iterable[Symmetry], group: Group | None = None) -> Iterator[float]:
        """Yield the same, and then of the network with other scales, see `rescaling`, under the same elements."""
        moved = self._moved(tuple(symmetries), group)
        yield relative_change(self.outputs(moved), self._expected)
        for network in self._far.networks:
            change = relative_change(self.outputs(network.of(moved), network.inputs), network.expected)
            if change <= TOLERANCE or network.is_steady:
                yield change

    def holds(self, symmetries: Iterable[Symmetry], group: Group | None = None) -> bool:
        """Say whether random elements keep the outputs at all scales."""
        return all(deviation <= TOLERANCE for deviation in self.deviations(symmetries, group))

    def _moved(self, symmetries: tuple[Symmetry, ...], group: Group | None) -> dict[str, Tensor]:
        """Return the weights with random elements applied, the same each time."""
        generator = Generator().manual_seed(self._seed + 1)
        elements: dict[int, Element] = {each.space: random_element(each, generator, group) for each in symmetries}
        alone = replace(self.symmetries, symmetries=symmetries)  # what else could be folded is left as it is
        return transformed(alone, self.weights, elements)

    def largest_that_holds(self, symmetry: Symmetry) -> Symmetry | None:
        """Return a symmetry with the largest group that holds, its own or one inside; None where none does."""
        for group in within(symmetry.group):
            smaller = symmetry.carrying(group)  # without scales where they need not be folded: these may be the fault
            if self.holds([smaller]):
                return smaller
        return None
