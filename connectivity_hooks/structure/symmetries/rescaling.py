"""Weights and inputs far from those of a new network, on which what is flat or straight next to zero is so no more.

A network with a part that rounds its values to integers has every symmetry of one without, as long as all are below
one. Elements of groups act on each tensor linearly, so that what they made of some weights is, times one factor for
each tensor, what they make of these weights times the same: trying further scales costs passes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import torch
from torch import Generator, Tensor

from connectivity_hooks.model.inputs import Inputs, mapped
from connectivity_hooks.structure.symmetries.symmetry import Symmetries

FAR = 32.0
"""Entries of about one, as those of a new network, come to tens, where roundings and bounds show. A power of two, so
that products are exact."""

TRIES = 3
"""Of signs for the factors of one network: under some its outputs are asleep, or its numbers grow without bound."""

LARGE = 2**24
"""Weights from where on one rescaled network is tried, since a pass takes seconds."""

JITTER = 1e-13
"""Change of weights, relative to them: a hundred times and more what rounding makes of them when elements act."""

STEADY = 1e-10
"""Of a change of outputs by such weights: those that change more show rounding, and none of the groups."""


@dataclass(frozen=True, eq=False)
class Rescaled:
    """A network each of whose tensors was multiplied by a number.

    Attributes:
        factors: By the names of weights; those that are left out stay.
        inputs: What it is run on.
        expected: Its outputs.
        shaken: Returns its outputs with weights changed by next to nothing.
    """

    factors: Mapping[str, float]
    inputs: Inputs
    expected: Tensor
    shaken: Callable[[], Tensor]

    def of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights times the factors; integers stay."""
        return rescaled(weights, self.factors)

    @cached_property
    def is_steady(self) -> bool:
        """Whether rounding does not change its outputs; else a change of them shows nothing. Costs a pass."""
        return relative_change(self.shaken(), self.expected) <= STEADY


def rescaled(weights: Mapping[str, Tensor], factors: Mapping[str, float]) -> dict[str, Tensor]:
    """Return weights times factors by their names; what has none is shared."""
    return {name: tensor * factors[name] if name in factors else tensor for name, tensor in weights.items()}


def with_signs(
    symmetries: Symmetries, weights: Mapping[str, Tensor], sizes: Mapping[str, float], generator: Generator
) -> dict[str, float]:
    """Return a factor of the size given for each tensor, with a random sign where the tensor has entries of both.

    Folding has to go through as elements do: γ that is stored with a number less stays, and a bias that takes over what
    a map makes of β has the product of both factors.
    """
    negated = torch.randint(2, (len(sizes),), generator=generator).tolist()
    found = {
        name: -size if minus and bool((weights[name] < 0).any()) else size
        for minus, (name, size) in zip(negated, sizes.items(), strict=True)
    }
    scales = [scale for symmetry in symmetries.symmetries for scale in symmetry.scales]
    for scale in scales:
        if scale.added:
            found[scale.scale] = 1.0
    for scale in scales:
        for weight, bias in zip(scale.maps, scale.biases, strict=False):
            if scale.shift and bias in found:
                found[bias] = found[weight] * found[scale.shift]
    return found | {name: found[own] for name, own in symmetries.tied.items() if name in found and own in found}


class FarOff:
    """Rescaled networks on which symmetries can be tried; made when first asked for.

    Args:
        symmetries: The network's, all that will be tried among them.
        weights: Random weights.
        inputs: Of a few samples.
        outputs: Runs the network with weights on inputs.
        seed: Of the factors.
    """

    def __init__(
        self,
        symmetries: Symmetries,
        weights: Mapping[str, Tensor],
        inputs: Inputs,
        outputs: Callable[[Mapping[str, Tensor], Inputs], Tensor],
        seed: int,
    ) -> None:
        self._symmetries, self._weights, self._inputs, self._outputs = symmetries, weights, inputs, outputs
        self._generator = Generator().manual_seed(seed)

    @cached_property
    def networks(self) -> tuple[Rescaled, ...]:
        """Those whose outputs tell something: finite and not all alike; of a large network one.

        In the first all is large; in the others each tensor is large or small, in one where it is not in the other.
        """
        names = [name for name, tensor in self._weights.items() if tensor.is_floating_point()]
        mixed = torch.randint(2, (len(names),), generator=self._generator).tolist()
        all_sizes = (
            dict.fromkeys(names, FAR),
            {name: FAR if large else 1 / FAR for name, large in zip(names, mixed, strict=True)},
            {name: 1 / FAR if large else FAR for name, large in zip(names, mixed, strict=True)},
        )
        found = (self._network(sizes, larger=number == 0) for number, sizes in enumerate(all_sizes))
        told = (network for network in found if network is not None)
        large = sum(self._weights[name].numel() for name in names) > LARGE
        return tuple(islice(told, 1 if large else None))

    def _network(self, sizes: Mapping[str, float], larger: bool) -> Rescaled | None:
        inputs = mapped(_larger, self._inputs) if larger else self._inputs
        tries = (with_signs(self._symmetries, self._weights, sizes, self._generator) for _ in range(TRIES))
        found = (self._candidate(factors, inputs) for factors in tries)
        return next((network for network in found if network is not None), None)

    def _candidate(self, factors: Mapping[str, float], inputs: Inputs) -> Rescaled | None:
        try:
            expected = self._outputs(rescaled(self._weights, factors), inputs)
        except Exception:  # a stranger's module may refuse such numbers, in any way
            return None
        return Rescaled(factors, inputs, expected, partial(self._shaken, factors, inputs)) if _tells(expected) else None

    def _shaken(self, factors: Mapping[str, float], inputs: Inputs) -> Tensor:
        weights = {name: _jittered(tensor) for name, tensor in rescaled(self._weights, factors).items()}
        return self._outputs(self._symmetries.completed(weights), inputs)


def relative_change(found: Tensor, expected: Tensor) -> float:
    """Return the largest change of an output, relative to the largest output; infinite where it is no number."""
    change = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-300)
    return float(change) if bool(change.isfinite()) else float("inf")


def _larger(tensor: Tensor) -> Tensor:
    return tensor * FAR if tensor.is_floating_point() else tensor


def _tells(outputs: Tensor) -> bool:
    return bool(outputs.isfinite().all()) and bool((outputs != outputs.flatten()[0]).any())


def _jittered(tensor: Tensor) -> Tensor:
    """Return a tensor with a little of each entry's neighbour added: no multiple of it, which a norm would not see."""
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        return tensor
    return tensor + JITTER * tensor.flatten().roll(1).view(tensor.shape)
