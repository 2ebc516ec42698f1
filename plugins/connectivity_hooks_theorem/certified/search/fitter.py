"""Fitting one sub-network to the features it reads: a probe, or trained layers with an output layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.paths import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks_theorem.certified.network.sides import Neurons
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search.draft import Draft
from connectivity_hooks_theorem.certified.search.features import Features, Held
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.initial_weights import fresh_weights, warm_weights
from connectivity_hooks_theorem.certified.search.neuron_pairs import passed_on
from connectivity_hooks_theorem.certified.search.output_layer import (
    OutputLayer,
    best_factor,
    closest_output_layer,
    fit_output_layer,
)
from connectivity_hooks_theorem.certified.search.setting import Setting
from connectivity_hooks_theorem.certified.search.training import train

_HELD_OUT = 10
"""One sample in so many is held out of a probe's first fit: 6000 of MNIST's tell shares of `Effort.held_out` apart."""


@dataclass(frozen=True)
class Fitter:
    """Fits sub-networks of one end.

    Attributes:
        setting: What they have in common.
        end: The end's weights on the device of the features.
        goal: What every sub-network should reach.
    """

    setting: Setting
    end: Weights
    goal: Goal

    @property
    def _last(self) -> int:
        return len(self.setting.network.cuts) - 1

    @property
    def _bias(self) -> bool:
        return "bias" in self.setting.network.output.step.weights

    def probe(self, read: Held, cut: int, neurons: Neurons, *, must_generalise: bool) -> Subnetwork | None:
        """Return a sub-network that is an affine map of the features, its outputs passed on.

        None where an affine map classifies too many samples wrongly that it has not seen, and `must_generalise`.
        """
        features = read.whole()
        if must_generalise and self.goal.classifies and not self._generalises(features):
            return None
        output = self._output_layer(features, patient=cut == self._last)
        del features  # it was overwritten
        return self._passed_on(
            Draft({}, output), output, Stretch(self.setting.network, cut, cut), neurons, read.whole()
        )

    def _generalises(self, features: Tensor) -> bool:
        """Say whether an affine map classifies about as many samples as the end that it has not seen."""
        seen = len(features) - len(features) // _HELD_OUT
        first = closest_output_layer(features[:seen], self.goal.of(slice(None, seen)), bias=self._bias)
        unseen = self.goal.of(slice(seen, None))
        return unseen.rise(unseen.errors(first(features[seen:]))) <= self.setting.effort.held_out

    def trained(
        self,
        features: Features,
        stretch: Stretch,
        neurons: Neurons,
        generator: torch.Generator,
        above: Subnetwork | None = None,
        progress: Progress = SILENT,
    ) -> Subnetwork:
        """Return a sub-network whose layers in `stretch` are trained, warm-started from `above` if given."""
        draft = fresh_weights(stretch, self.end, neurons, features.head, generator)
        if above is not None:
            draft = warm_weights(draft, stretch, self.end, neurons, above)
        found: list[Subnetwork] = []
        schedules = self.setting.effort.schedules(warm=above is not None)
        for number, schedule in enumerate(progress.track(schedules, "rounds of training", len(schedules)), start=1):
            draft = train(draft, stretch, features, self.goal, schedule, generator)
            found.append(self._finished(draft, stretch, neurons, features, last=number == len(schedules)))
            if found[-1].loss <= self.goal.target:
                break
        return min(found, key=lambda subnetwork: subnetwork.loss)

    def _finished(
        self, draft: Draft, stretch: Stretch, neurons: Neurons, features: Features, *, last: bool
    ) -> Subnetwork:
        """Scale the output layer to reach the goal; where that is not enough, fit it anew.

        Unless this round is the last, it is not fitted to more than a few errors.
        """
        found = self._values(draft, stretch, features)
        if draft.output is None:
            return self._scaled(draft, stretch, neurons, found)
        trained = self._passed_on(draft, draft.output, stretch, neurons, found)
        if trained.loss <= self.goal.target:
            return trained
        if not last and self.goal.rise(trained.error) > self.setting.effort.refit:
            return trained
        anew = self._output_layer(found)
        del found  # it was overwritten
        fitted = self._passed_on(draft, anew, stretch, neurons, self._values(draft, stretch, features))
        return min(trained, fitted, key=lambda subnetwork: subnetwork.loss)

    def _values(self, draft: Draft, stretch: Stretch, features: Features) -> Tensor:
        """Return what enters a draft's output layer, flattened (N, F), or without one its outputs (N, C)."""
        batches = features.batches(self.setting.task.batch_size)
        (value,) = draft.reaches(stretch).run_all(draft.weights, batches, features.count).values()
        return value if draft.output is None else value.flatten(1)

    def _output_layer(self, features: Tensor, *, patient: bool = False) -> OutputLayer:
        return fit_output_layer(features, self.goal, bias=self._bias, ridge=self.setting.ridge, patient=patient)

    def _passed_on(
        self, draft: Draft, output: OutputLayer, stretch: Stretch, neurons: Neurons, features: Tensor
    ) -> Subnetwork:
        """Return a draft under an output layer, scaled, whose outputs pass through the layers above.

        Args:
            draft: The layers before; its own output layer is not used.
            output: The output layer.
            stretch: The draft's.
            neurons: Those that it reads or lives in.
            features: (N, F) what enters the output layer.
        """
        scaled = output.scaled(best_factor(output(features), self.goal))
        outputs = scaled(features)
        weights = passed_on(draft.weights, scaled, stretch.rest, self.end)
        used = dict(neurons)
        for layer in stretch.rest.hidden:
            used[layer.rows.space] = neurons[layer.rows.space][: 2 * stretch.network.classes]
        trained = stretch.rest.cut - stretch.cut
        return Subnetwork(stretch.cut, used, weights, trained, self.goal.measure(outputs), self.goal.errors(outputs))

    def _scaled(self, draft: Draft, stretch: Stretch, neurons: Neurons, outputs: Tensor) -> Subnetwork:
        """Return a draft with the network's own output layer, scaled."""
        factor, weights = best_factor(outputs, self.goal), dict(draft.weights)
        for name in stretch.network.output.step.weights.values():
            weights[name] = weights[name] * factor
        outputs, trained = outputs * factor, self._last - stretch.cut
        loss, error = self.goal.measure(outputs), self.goal.errors(outputs)
        return Subnetwork(stretch.cut, neurons, weights, trained, loss, error)
