"""Condition ``subnetwork``: do the free neurons suffice to do the rest of the work from part of a layer?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.features import Observation
from connectivity_hooks_theorem.conditions.outputs import not_one_answer, own_loss, own_outputs
from connectivity_hooks_theorem.conditions.scaling import mean_losses, wrong
from connectivity_hooks_theorem.conditions.usable import usable_features
from connectivity_hooks_theorem.probes.networks import NetworkFit, fit_networks

UNIT = "increase of the loss"


@dataclass(frozen=True)
class Options:
    """Options of `SubnetworkCondition`."""

    fraction: float = option(0.5, "Share of each layer's neurons kept; the others are free.", gt=0, lt=1)
    draws: int = option(3, "Random choices of features, trained at once.", ge=1)
    epochs: int = option(20, "Epochs of training at most.", ge=1)
    hidden: int = option(2, "Hidden layers at most; further ones can pass outputs on in pairs of neurons.", ge=0)
    epsilon: float = option(0.05, "Increase of the loss that the best sub-network may cost.", ge=0)


class SubnetworkCondition(Condition):
    """Whether a network as wide as the free neurons reaches the loss from part of each layer's features.

    Condition (A) of the theorem of Nguyen, Bréchet and Mondelli (arXiv 2102.09671): from a layer's kept features a
    network with the free neurons of the layers after it reaches the network's own loss. For each layer ``draws`` random
    subsets of the features are drawn, and a ReLU network with the free widths of the next layers, ``hidden`` of them at
    most, is trained on each. The measured figure is the loss of the best minus the network's own; the layer holds when
    that is at most ``epsilon``. In fully connected networks dropout stability is the case in which the sub-network is
    the network's own remainder, so this condition is never stronger. What training did not find may exist all the same.
    Feature maps are averaged over space unless ``--spatial flatten``, and the sub-network is fully connected: for
    convolutions the builder ``certified`` trains convolutions.

    Time: draws·epochs·6·N·parameters operations a layer; memory: the layer's features and draws outputs (N, C).
    """

    name = "subnetwork"
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer, or one for the network where it has no outputs (N, C) with a loss."""
        outputs = own_outputs(observation)
        own = outputs if isinstance(outputs, str) else own_loss(observation, outputs)
        if isinstance(outputs, str) or isinstance(own, str):
            yield Verdict.invalid(self.name, None, str(own))
            return
        if outputs.ndim != 2:
            reason = not_one_answer(outputs) or f"outputs (N, C) are needed, found {tuple(outputs.shape)}"
            yield Verdict.invalid(self.name, None, reason)
            return
        layers, widths = list(observation.layers), observation.widths()
        generator = torch.Generator().manual_seed(self.seed)
        for layer in self.progress.track(layers, "training sub-networks", len(layers)):
            features = usable_features(observation, layer)
            if isinstance(features, str):
                yield Verdict.invalid(self.name, layer, features)
                continue
            later = [widths[name] for name in layers[layers.index(layer) + 1 :] if name in widths]
            hidden = [width - self._kept(width) for width in later[: self.options.hidden]]
            fit = self._fit(observation, features, hidden, outputs.shape[1], own, generator)
            yield self._verdict(observation, layer, fit, features, hidden, own)

    def _kept(self, width: int) -> int:
        return max(1, round(width * float(self.options.fraction)))

    def _fit(
        self,
        observation: Observation,
        features: Tensor,
        hidden: list[int],
        outputs: int,
        own: float,
        generator: torch.Generator,
    ) -> NetworkFit:
        width = features.shape[1]
        order = torch.rand(self.options.draws, width, generator=generator).argsort(1)
        return fit_networks(
            features,
            observation.targets().to(features.device),
            order[:, : self._kept(width)].sort(1).values,
            [width for width in hidden if width > 0],
            outputs,
            observation.loss,
            epochs=self.options.epochs,
            loss_target=own,
            generator=generator,
        )

    def _verdict(
        self, observation: Observation, layer: str, fit: NetworkFit, features: Tensor, hidden: list[int], own: float
    ) -> Verdict:
        targets = observation.targets().to(features.device)
        losses = mean_losses(fit.outputs, targets, observation.loss)
        best = int(losses.argmin())
        increase, allowed = float(losses[best]) - own, self.options.epsilon
        if not math.isfinite(increase):
            return Verdict.invalid(self.name, layer, "no trained sub-network has a finite loss")
        details: dict[str, float | int | str | None] = {
            "loss": float(losses[best]),
            "loss_own": own,
            "loss_worst": float(losses.max()),
            "errors": wrong(fit.outputs[best], targets, observation.loss),
            "kept": self._kept(features.shape[1]),
            "neurons": features.shape[1],
            "hidden": " ".join(str(width) for width in hidden),
            "epochs": fit.epochs,
            "samples": len(features),
        }
        return Verdict(self.name, layer, increase <= allowed, increase, allowed, UNIT, details=details)
