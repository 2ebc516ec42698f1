"""Running the network with random elements of its groups: what does not keep its outputs in float64 is no symmetry."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
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

    Time: three passes where all hold; else a logarithmic number for each that does not.

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
    deviation = trial.deviation(symmetries.symmetries)
    if deviation <= TOLERANCE:
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
    def outputs(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the module's outputs under some weights, in float64 also where its code would cast to float32."""
        with untouched(self._model), in_double():
            try:
                return self._run.under(self._model, weights, self._inputs)
            except (RuntimeError, TypeError) as error:  # of an operation that has no float64 on this device
                reason = one_line(error)
                raise InputError(
                    f"symmetries are tried in float64, in which the model does not run: {reason}"
                ) from None

    def deviation(self, symmetries: Iterable[Symmetry], group: Group | None = None) -> float:
        """Return the largest change of an output under random elements of some symmetries, relative to the largest."""
        generator = Generator().manual_seed(self._seed + 1)
        moved = tuple(symmetries)
        elements: dict[int, Element] = {each.space: random_element(each, generator, group) for each in moved}
        alone = replace(self.symmetries, symmetries=moved)  # what else could be folded is left as it is
        found = self.outputs(transformed(alone, self.weights, elements))
        change = (found - self._expected).abs().max() / self._expected.abs().max().clamp_min(1e-300)
        return float(change) if bool(change.isfinite()) else float("inf")

    def largest_that_holds(self, symmetry: Symmetry) -> Symmetry | None:
        """Return a symmetry with the largest group that holds, its own or one inside; None where none does."""
        for group in within(symmetry.group):
            smaller = symmetry.carrying(group)  # without scales where they need not be folded: these may be the fault
            if self.deviation([smaller]) <= TOLERANCE:
                return smaller
        return None
