"""Finding a sub-network for every cut of one end, cheapest means first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.sides import Neurons, Sides, all_but
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.network.values import in_batches, inputs
from connectivity_hooks_theorem.certified.search.features import Features, Held, Source, training_features
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.neuron_pairs import first_passable
from connectivity_hooks_theorem.certified.search.setting import Setting


@dataclass(frozen=True)
class Finder:
    """Finds the sub-networks of one end.

    Where outputs can be passed on in pairs of neurons, cuts are taken in the order of the computation: features are
    computed once, those of a cut in place of the ones before, and a sub-network leaves the next cut all neurons it does
    not use itself. The cuts before are taken backwards, each sub-network warm-started from a later one.

    Attributes:
        fitter: Fits one of them.
        sides: The sides of every space.
        begins: 0 or 1: the side its sub-networks begin on; the other end's begin on the other, or at a hub the same.
        seed: Seed of this end's random choices.
    """

    fitter: Fitter
    sides: Sides
    begins: int
    seed: int

    @property
    def setting(self) -> Setting:
        """What the sub-networks have in common."""
        return self.fitter.setting

    @property
    def network(self) -> Network:
        """The network."""
        return self.setting.network

    def find(self) -> Iterator[Subnetwork]:
        """Yield a sub-network for every cut but the input's, in the order they are found."""
        first, found = first_passable(self.network), None
        for subnetwork in self._passing(first):
            found = found or subnetwork
            yield subnetwork
        later = {first: found}
        for cut in range(first - 1, 0, -1):
            found = later[cut] = self._full(cut, later.get(cut + (2 if self.network.residual else 1)))
            yield found

    def _passing(self, first: int) -> Iterator[Subnetwork]:
        """Yield the sub-networks of the cuts from which outputs can be passed on, in the order of the computation."""
        network, task, weights = self.network, self.setting.task, self.fitter.end
        count, size = len(task.train), task.batch_size
        features = Stretch(network, 0, first).run_all(weights, inputs(task.train, size), count)
        found: Subnetwork | None = None
        for cut in range(first, len(network.cuts)):
            neurons = self._neurons(cut)
            if found is not None:
                (before,) = features.values()
                step = Stretch(network, cut - 1, cut)
                features = step.run_all(weights, in_batches(features, size), count, into=before)
                neurons |= {space: self._left(space, found.neurons) for space in network.cut_spaces(cut)}
            # Features grow more separable with depth: after one probe has proven itself the next are not examined.
            proven = found is not None and found.trained == 0
            found = self._cheapest(cut, Held(network, features, neurons), neurons, proven)
            yield found

    def _neurons(self, cut: int) -> dict[int, torch.Tensor]:
        """Return the neurons a sub-network lives in, and of the features at its cut those it reads.

        Features it does not live in itself may be read wherever the sub-network before it leaves them; those of the
        first cut that has any are divided evenly, since both ends meet there.
        """
        neurons, before = self.sides.neurons(cut, self.begins), self.sides.neurons(cut - 1, self.begins)
        for space, at in self.network.read_once().items():
            if at == cut > 1:
                neurons[space] = self._left(space, before)
        return neurons

    def _left(self, space: int, taken: Neurons) -> torch.Tensor:
        return all_but(self.network.spaces[space].width, taken[space])

    def _cheapest(self, cut: int, features: Held, neurons: Neurons, proven: bool) -> Subnetwork:
        """Return the first of probe, few and more trained layers that reaches the goal, else the best."""
        tried: list[Subnetwork] = []
        for attempt in self._attempts(cut, features, neurons, proven):
            tried.append(attempt)
            if attempt.loss <= self.fitter.goal.target:
                break
        return min(tried, key=lambda subnetwork: subnetwork.loss)

    def _attempts(self, cut: int, features: Held, neurons: Neurons, proven: bool) -> Iterator[Subnetwork]:
        """Yield sub-networks, cheapest first; in front of the output layer an affine map is all there is."""
        last, dense = len(self.network.cuts) - 1, self.network.output.step.dense
        if self._room_to_pass(cut):
            probe = self.fitter.probe(features, cut, neurons, must_generalise=cut < last and not proven)
            if probe is not None:
                yield probe
        for layers in (self.setting.effort.hidden, 2 * self.setting.effort.hidden):
            until = min(cut + layers, last)
            until = until if self._room_to_pass(until) else last
            if until > cut or not dense:
                seen = features if self.setting.task.augment is None else self._features(cut, neurons)
                stretch = Stretch(self.network, cut, until)
                yield self.fitter.trained(seen, stretch, neurons, self._generator(cut))
            if until == last:
                return

    def _room_to_pass(self, cut: int) -> bool:
        """Say whether every layer after a cut holds the pairs of all outputs on its smaller side."""
        network = self.network
        if not network.output.step.dense:
            return False
        spaces = {layer.rows.space for layer in Stretch(network, cut).hidden}
        return all(len(side) >= 2 * network.classes for space in spaces for side in self.sides.by_space[space])

    def _full(self, cut: int, above: Subnetwork | None) -> Subnetwork:
        """Return a sub-network all of whose layers are trained."""
        neurons, stretch = self._neurons(cut), Stretch(self.network, cut, len(self.network.cuts) - 1)
        return self.fitter.trained(self._features(cut, neurons), stretch, neurons, self._generator(cut), above)

    def _features(self, cut: int, neurons: Neurons) -> Features:
        """Return the features a sub-network is trained on."""
        source = Source(self.network, self.fitter.end, cut, neurons)
        imitate = self.fitter.goal.imitates
        return training_features(source, self.setting.task, self.setting.memory, imitate=imitate)

    def _generator(self, cut: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + cut)
