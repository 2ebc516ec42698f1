"""Condition ``subnetwork``: do the free neurons suffice to do the rest of the work from part of a layer?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.features import Observation
from connectivity_hooks.tasks import LOSSES, Loss
from connectivity_hooks_theorem.conditions.outputs import not_one_answer, own_loss, own_outputs
from connectivity_hooks_theorem.conditions.positions import Answers, answers_at_positions, own_loss_at
from connectivity_hooks_theorem.conditions.scaling import mean_losses, wrong
from connectivity_hooks_theorem.conditions.usable import Labelled, labelled
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
    Positions are pooled, see ``--pool``, and the sub-network is fully connected: for convolutions the builder
    ``certified`` trains convolutions. Of a model that labels positions (tokens, pixels) each position is a sample, as
    many drawn as there are samples, 1024 at least where there are so many; the sub-network then reads one position, and
    no other by attention.

    Time: draws·epochs·6·N·parameters operations a layer; memory: the layer's features and draws outputs (N, C).
    """

    name = "subnetwork"
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer, or one for the network where it has no outputs (N, C) with a loss."""
        asked = _asked(observation, self.seed)
        if isinstance(asked, str):
            yield Verdict.invalid(self.name, None, asked)
            return
        layers, widths = list(observation.layers), observation.widths()
        generator = torch.Generator().manual_seed(self.seed)
        for layer in self.progress.track(layers, "training sub-networks", len(layers)):
            found = labelled(observation, layer, asked.targets, torch.ones(len(asked.targets)).bool(), asked.answers)
            if isinstance(found, str):
                yield Verdict.invalid(self.name, layer, found)
                continue
            later = [widths[name] for name in layers[layers.index(layer) + 1 :] if name in widths]
            hidden = [width - self._kept(width) for width in later[: self.options.hidden]]
            fit = self._fit(asked, found, hidden, generator)
            yield self._verdict(asked, layer, fit, found, hidden)

    def _kept(self, width: int) -> int:
        return max(1, round(width * float(self.options.fraction)))

    def _fit(self, asked: _Asked, found: Labelled, hidden: list[int], generator: torch.Generator) -> NetworkFit:
        width = found.features.shape[1]
        order = torch.rand(self.options.draws, width, generator=generator).argsort(1)
        return fit_networks(
            found.features,
            found.targets,
            order[:, : self._kept(width)].sort(1).values,
            [width for width in hidden if width > 0],
            asked.outputs,
            asked.loss,
            epochs=self.options.epochs,
            loss_target=asked.own,
            generator=generator,
        )

    def _verdict(self, asked: _Asked, layer: str, fit: NetworkFit, found: Labelled, hidden: list[int]) -> Verdict:
        features, targets, own = found.features, found.targets, asked.own
        losses = mean_losses(fit.outputs, targets, asked.loss)
        best = int(losses.argmin())
        increase, allowed = float(losses[best]) - own, self.options.epsilon
        if not math.isfinite(increase):
            return Verdict.invalid(self.name, layer, "no trained sub-network has a finite loss")
        details: dict[str, float | int | str | None] = {
            "loss": float(losses[best]),
            "loss_own": own,
            "loss_worst": float(losses.max()),
            "errors": wrong(fit.outputs[best], targets, asked.loss),
            "kept": self._kept(features.shape[1]),
            "neurons": features.shape[1],
            "hidden": " ".join(str(width) for width in hidden),
            "epochs": fit.epochs,
            "samples": len(features),
            **found.details,
        }
        return Verdict(self.name, layer, increase <= allowed, increase, allowed, UNIT, details=details)


@dataclass(frozen=True)
class _Asked:
    """What a sub-network is asked for.

    Attributes:
        targets: (M, …).
        outputs: C.
        loss: The loss of outputs (M, C).
        own: The network's own.
        answers: Answers at positions; None where there is one a sample.
    """

    targets: Tensor
    outputs: int
    loss: Loss
    own: float
    answers: Answers | None


def _asked(observation: Observation, seed: int) -> _Asked | str:
    """Return what a sub-network is asked for, or the reason of an invalid verdict."""
    answers = answers_at_positions(observation, seed)
    if isinstance(answers, str):
        return answers
    if answers is not None:
        own, loss = own_loss_at(observation, answers), LOSSES["cross-entropy"]
        return own if isinstance(own, str) else _Asked(answers.targets, answers.classes, loss, own, answers)
    outputs = own_outputs(observation)
    if isinstance(outputs, str):
        return outputs
    own = own_loss(observation, outputs)
    if isinstance(own, str):
        return own
    if outputs.ndim != 2:
        return not_one_answer(outputs) or f"outputs (N, C) are needed, found {tuple(outputs.shape)}"
    return _Asked(observation.targets(), outputs.shape[1], observation.loss, own, None)
