"""Finding a sub-network for every cut of one end, cheapest means first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from connectivity_hooks.tasks.task import Task
from connectivity_hooks_theorem.certified.network.running import in_batches, inputs, run_all
from connectivity_hooks_theorem.certified.network.sides import Sides, Slots, all_but
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.features import Augmented, Features, Held, Source, features_at
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.neuron_pairs import first_passable


@dataclass(frozen=True)
class Finder:
    """Finds the sub-networks of one end.

    Where outputs can be passed on in pairs of neurons, cuts are taken in the order of the computation: features are
    computed once, those of a cut in place of the ones before, and a sub-network leaves the next cut all neurons it does
    not use itself. The cuts before are taken backwards, each sub-network warm-started from a later one.

    Attributes:
        fitter: Fits one of them.
        sides: The cut of every space.
        number: 0 or 1: which side its sub-networks begin on; the other end's begin on the other, or at a hub the same.
        task: The data.
        seed: Seed of every random choice.
        budget: Bytes of feature maps held at a time.
    """

    fitter: Fitter
    sides: Sides
    number: int
    task: Task
    seed: int
    budget: int

    def find(self) -> Iterator[Subnetwork]:
        """Yield a sub-network for every cut but the input's, in the order they are found."""
        first, found = first_passable(self.fitter.network), None
        for subnetwork in self._passing(first):
            found = found or subnetwork
            yield subnetwork
        later = {first: found}
        for cut in range(first - 1, 0, -1):
            found = later[cut] = self._full(cut, later.get(cut + (2 if self.fitter.network.residual else 1)))
            yield found

    def _passing(self, first: int) -> Iterator[Subnetwork]:
        """Yield the sub-networks of the cuts from which outputs can be passed on, in the order of the computation."""
        network, size, weights = self.fitter.network, self.task.batch_size, self.fitter.end
        count = len(self.task.train)
        features = run_all(network, weights, inputs(self.task.train, size), count, 0, first)
        found: Subnetwork | None = None
        for cut in range(first, len(network.cuts)):
            slots = self._slots(cut)
            if found is not None:
                (before,) = features.values()
                features = run_all(network, weights, in_batches(features, size), count, cut - 1, cut, into=before)
                slots |= {space: self._left(space, found.slots) for space in network.cut_spaces(cut)}
            # Features grow more separable with depth: after one probe has proven itself the next are not examined.
            proven = found is not None and found.trained == 0
            found = self._cheapest(cut, Held(network, features, slots), slots, proven)
            yield found

    def _slots(self, cut: int) -> dict[int, torch.Tensor]:
        """Return the neurons a sub-network lives in, and of the features at its cut those it reads.

        Features it does not live in itself may be read wherever the sub-network before it leaves them; those of the
        first cut that has any are halved, since both ends meet there.
        """
        slots, before = self.sides.slots(cut, self.number), self.sides.slots(cut - 1, self.number)
        for space, at in self.fitter.network.read_once().items():
            if at == cut > 1:
                slots[space] = self._left(space, before)
        return slots

    def _left(self, space: int, taken: Slots) -> torch.Tensor:
        return all_but(self.fitter.network.spaces[space].width, taken[space])

    def _cheapest(self, cut: int, features: Held, slots: Slots, proven: bool) -> Subnetwork:
        """Return the first of probe, few and more trained layers that reaches the goal, else the best."""
        tried: list[Subnetwork] = []
        for attempt in self._attempts(cut, features, slots, proven):
            tried.append(attempt)
            if attempt.loss <= self.fitter.goal.target:
                break
        return min(tried, key=lambda subnetwork: subnetwork.loss)

    def _attempts(self, cut: int, features: Held, slots: Slots, proven: bool) -> Iterator[Subnetwork]:
        """Yield sub-networks, cheapest first; in front of the output layer an affine map is all there is."""
        last = len(self.fitter.network.cuts) - 1
        dense = self.fitter.network.output.step.dense
        if self._room_to_pass(cut):
            probe = self.fitter.probe(features, cut, slots, must_generalise=cut < last and not proven)
            if probe is not None:
                yield probe
        for layers in (self.fitter.effort.hidden, 2 * self.fitter.effort.hidden):
            until = min(cut + layers, last)
            until = until if self._room_to_pass(until) else last
            if until > cut or not dense:
                seen = features if self.task.augment is None else self._features(cut, slots)
                yield self.fitter.trained(seen, cut, until, slots, self._generator(cut))
            if until == last:
                return

    def _room_to_pass(self, cut: int) -> bool:
        """Say whether every layer after a cut holds the pairs of all outputs on its smaller side."""
        network = self.fitter.network
        if not network.output.step.dense:
            return False
        spaces = {layer.rows.space for layer in network.layers_from(cut) if layer is not network.output}
        return all(len(side) >= 2 * network.classes for space in spaces for side in self.sides.cuts[space])

    def _full(self, cut: int, above: Subnetwork | None) -> Subnetwork:
        """Return a sub-network all of whose layers are trained."""
        slots, last = self._slots(cut), len(self.fitter.network.cuts) - 1
        return self.fitter.trained(self._features(cut, slots), cut, last, slots, self._generator(cut), above)

    def _features(self, cut: int, slots: Slots) -> Features:
        """Return the features a sub-network is trained on: augmented, or as many held as fit."""
        source, size = Source(self.fitter.network, self.fitter.end, cut, slots), self.task.batch_size
        if self.task.augment is None:
            return features_at(source, self.task.train, size, self.budget)
        return Augmented(source, self.task.train, size, self.task.augment, imitate=self.fitter.goal.imitates)

    def _generator(self, cut: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + cut)
