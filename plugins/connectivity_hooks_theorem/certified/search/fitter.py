"""Fitting one sub-network to the features it reads: a probe, or trained layers with an output layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks_theorem.certified.network.network import Network
from connectivity_hooks_theorem.certified.network.running import run_all
from connectivity_hooks_theorem.certified.network.sides import Slots
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.effort import Effort
from connectivity_hooks_theorem.certified.search.features import Features, Held
from connectivity_hooks_theorem.certified.search.initial_weights import fresh, fresh_head, warm
from connectivity_hooks_theorem.certified.search.neuron_pairs import Head, passed_on
from connectivity_hooks_theorem.certified.search.output_layer import Goal, best_factor, closest_head, fit_head
from connectivity_hooks_theorem.certified.search.training import train

_HELD_OUT = 10


@dataclass(frozen=True)
class Fitter:
    """Fits sub-networks of one end.

    Attributes:
        network: The network.
        end: The end's weights on the device of the features.
        goal: What every sub-network should reach.
        effort: What is tried.
        ridge: Weight of the squared norm of a probe.
        batch_size: Samples of a forward pass.
    """

    network: Network
    end: Weights
    goal: Goal
    effort: Effort
    ridge: float
    batch_size: int

    @property
    def _last(self) -> int:
        return len(self.network.cuts) - 1

    @property
    def _bias(self) -> bool:
        return "bias" in self.network.output.step.weights

    def probe(self, read: Held, cut: int, slots: Slots, *, must_generalise: bool) -> Subnetwork | None:
        """Return a sub-network that is an affine map of the features, its outputs passed on.

        None where an affine map classifies too many samples wrongly that it has not seen, and `must_generalise`.
        """
        features = read.whole()
        if must_generalise and self.goal.classifies:
            seen = len(features) - len(features) // _HELD_OUT
            first = closest_head(features[:seen], self.goal.of(slice(None, seen)), bias=self._bias)
            unseen = self.goal.of(slice(seen, None))
            if unseen.rise(unseen.errors(first(features[seen:]))) > self.effort.held_out:
                return None
        head = self._head(features, patient=cut == self._last)
        del features
        return self._with_head(cut, cut, {}, head, read.whole(), slots)

    def trained(
        self,
        features: Features,
        cut: int,
        until: int,
        slots: Slots,
        generator: torch.Generator,
        above: Subnetwork | None = None,
        progress: Progress = SILENT,
    ) -> Subnetwork:
        """Return a sub-network whose layers up to `until` are trained, warm-started from `above` if given."""
        network = self.network
        narrow = fresh(network, self.end, cut, until, slots, features.head, generator)
        head = None
        if network.output.step.dense:
            width = sum(len(slots[space]) for space in network.cut_spaces(until))
            width *= network.axes[network.cuts[until].values[0]].spread
            head = fresh_head(network, width, next(iter(features.head.values())), self._bias, generator)
        if above is not None:
            narrow, head = warm(network, self.end, narrow, head, cut, slots, above)
        found: list[Subnetwork] = []
        schedules = self.effort.schedules(warm=above is not None)
        for number, schedule in enumerate(progress.track(schedules, "rounds of training", len(schedules)), start=1):
            narrow, head = train(network, narrow, head, features, self.goal, cut, until, schedule, generator)
            last = number == len(schedules)
            found.append(self._finished(features, cut, until, slots, narrow, head, last=last))
            if found[-1].loss <= self.goal.target:
                break
        return min(found, key=lambda subnetwork: subnetwork.loss)

    def _finished(
        self, features: Features, cut: int, until: int, slots: Slots, narrow: Weights, head: Head | None, *, last: bool
    ) -> Subnetwork:
        """Scale the output layer to reach the goal; where that is not enough, fit it anew.

        Unless this round is the last, it is not fitted to more than a few errors.
        """
        found = self._values(features, cut, None if head is None else until, narrow)
        if head is None:
            return self._scaled(cut, slots, narrow, found)
        trained = self._with_head(cut, until, narrow, head, found, slots)
        if trained.loss <= self.goal.target:
            return trained
        if not last and self.goal.rise(trained.error) > self.effort.refit:
            return trained
        anew = self._head(found)
        del found
        fitted = self._with_head(cut, until, narrow, anew, self._values(features, cut, until, narrow), slots)
        return min(trained, fitted, key=lambda subnetwork: subnetwork.loss)

    def _values(self, features: Features, cut: int, until: int | None, narrow: Weights) -> Tensor:
        """Return the sub-network's outputs (N, C), or its flattened features (N, F) at `until`."""
        batches = features.batches(self.batch_size)
        (value,) = run_all(self.network, narrow, batches, features.count, cut, until).values()
        return value if until is None else value.flatten(1)

    def _head(self, features: Tensor, *, patient: bool = False) -> Head:
        return fit_head(features, self.goal, bias=self._bias, ridge=self.ridge, patient=patient)

    def _with_head(
        self, cut: int, until: int, narrow: Weights, head: Head, features: Tensor, slots: Slots
    ) -> Subnetwork:
        scaled = head.scaled(best_factor(head(features), self.goal))
        outputs = scaled(features)
        weights = passed_on(self.network, self.end, narrow, scaled, until)
        used = dict(slots)
        for layer in self.network.layers_from(until):
            if layer is not self.network.output:
                used[layer.rows.space] = slots[layer.rows.space][: 2 * self.network.classes]
        return Subnetwork(cut, used, weights, until - cut, self.goal.measure(outputs), self.goal.errors(outputs))

    def _scaled(self, cut: int, slots: Slots, narrow: Weights, outputs: Tensor) -> Subnetwork:
        """Return the sub-network with its own output layer scaled."""
        factor, weights = best_factor(outputs, self.goal), dict(narrow)
        for name in self.network.output.step.weights.values():
            weights[name] = weights[name] * factor
        outputs = outputs * factor
        trained = self._last - cut
        return Subnetwork(cut, slots, weights, trained, self.goal.measure(outputs), self.goal.errors(outputs))
