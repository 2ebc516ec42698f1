"""Condition ``separability``: are random subsets of a layer's features linearly separable?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.features import Observation
from connectivity_hooks.tasks import IGNORED
from connectivity_hooks_theorem.conditions.positions import Answers, answers_at_positions
from connectivity_hooks_theorem.conditions.usable import Labelled, labelled
from connectivity_hooks_theorem.probes.logistic import LogisticFit, fit_logistic

UNIT = "misclassified samples"


@dataclass(frozen=True)
class Options:
    """Options of `Separability`."""

    fraction: float = option(0.5, "Share of a layer's neurons in each subset.", gt=0, le=1)
    drop: int | None = option(None, "Keep all but this many neurons instead of a share.", ge=0)
    draws: int = option(3, "Random subsets of each layer.", ge=1)
    ridge: float = option(0.0, "Weight of the squared norm of the probe, on standardised features.", ge=0)
    errors: int = option(0, "Misclassified samples allowed in the best draw.", ge=0)
    loss_target: float | None = option(
        None,
        "A probe stops when its loss is at most this; none: ln 2 / N, which no misclassified sample allows.",
        ge=0,
    )
    iterations: int = option(300, "L-BFGS iterations at most.", ge=1)


class Separability(Condition):
    """Whether random subsets of each layer's features are linearly separable.

    Case (ii) of the theorem of Nguyen, Bréchet and Mondelli (arXiv 2102.09671): if a subset of the features of every
    layer is linearly separable, two solutions can be connected with almost no over-parameterisation. For each layer
    several random subsets are drawn and a multinomial logistic probe is fitted to each by full-batch L-BFGS, all draws
    at once. The layer holds when the best probe misclassifies at most ``errors`` training samples: with 0 the probe
    itself is the proof that the subset is separable. That no separating probe was found is a measurement, not a proof.

    The measured figure is the number of misclassified samples of the best draw; the details give loss, errors and
    margin (distance of the closest sample to a boundary, on standardised features). With more neurons than samples
    nearly any labels are separable: use more samples. Positions are pooled, see ``--pool``; of a
    model that labels positions (tokens, pixels) each is a sample: as many are drawn as there are samples, 1024 at least
    where there are so many.

    Time: draws × iterations × 4·N·n·C operations a layer; memory: 2·N·n + 5·N·C·draws floats.
    """

    name = "separability"
    watched = True
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer."""
        answers = _at_positions(observation, self.seed)
        if isinstance(answers, str):
            yield Verdict.invalid(self.name, None, answers)
            return
        labels = _labels(observation) if answers is None else answers.targets
        generator = torch.Generator().manual_seed(self.seed)
        layers = list(observation.layers)
        for layer in self.progress.track(layers, "fitting probes", len(layers)):
            yield self._layer(labelled(observation, layer, labels, labels != IGNORED, answers), layer, generator)

    def _layer(self, found: Labelled | str, layer: str, generator: torch.Generator) -> Verdict:
        if isinstance(found, str):
            return Verdict.invalid(self.name, layer, found)
        features, labels = found.features, found.targets
        if len(labels.unique()) < 2:
            return Verdict.invalid(self.name, layer, "the samples are of one class")
        width = features.shape[1]
        kept = self._kept(width)
        if kept < 1:
            return Verdict.invalid(self.name, layer, f"no neuron of {width} would be kept")
        subsets = torch.stack(
            [torch.randperm(width, generator=generator)[:kept].sort().values for _ in range(self.options.draws)]
        )
        target = self.options.loss_target
        fit = fit_logistic(
            features,
            labels,
            subsets,
            ridge=self.options.ridge,
            loss_target=math.log(2) / len(labels) if target is None else target,
            max_iterations=self.options.iterations,
        )
        return self._verdict(layer, fit, kept, found)

    def _kept(self, width: int) -> int:
        if self.options.drop is not None:
            return width - int(self.options.drop)
        return max(1, round(width * float(self.options.fraction)))

    def _verdict(self, layer: str, fit: LogisticFit, kept: int, found: Labelled) -> Verdict:
        features = found.features
        best = min(range(len(fit.errors)), key=lambda draw: (int(fit.errors[draw]), float(fit.loss[draw])))
        errors = int(fit.errors[best])
        details: dict[str, float | int | str | None] = {
            "loss": float(fit.loss[best]),
            "errors": errors,
            "errors_worst": int(fit.errors.max()),
            "margin": float(fit.margin[best]),
            "kept": kept,
            "neurons": features.shape[1],
            "dead": int((features == 0).all(0).sum()),
            "samples": len(features),
            "iterations": fit.iterations,
            **found.details,
        }
        allowed = self.options.errors
        return Verdict(self.name, layer, errors <= allowed, errors, allowed, UNIT, details=details)


def _at_positions(observation: Observation, seed: int) -> Answers | str | None:
    try:
        return answers_at_positions(observation, seed)
    except InputError as error:
        raise InputError(f"separability needs class labels: {error}") from None


def _labels(observation: Observation) -> Tensor:
    try:
        labels = observation.targets()
    except InputError as error:
        raise InputError(f"separability needs class labels: {error}") from None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.is_floating_point() or labels.ndim != 1:
        kind = str(labels.dtype).removeprefix("torch.")
        raise InputError(f"separability needs class labels (N,), found targets {tuple(labels.shape)} of {kind}")
    return labels
