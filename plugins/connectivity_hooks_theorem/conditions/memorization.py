"""Condition ``memorization``: are features generic, and the free neurons enough to fit any labels?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.features import Observation
from connectivity_hooks_theorem.conditions.genericity import closest, collisions
from connectivity_hooks_theorem.conditions.outputs import not_one_answer, own_outputs, samples_that_count
from connectivity_hooks_theorem.conditions.positions import Answers, answers_at_positions
from connectivity_hooks_theorem.conditions.rank import Covariance, ranks
from connectivity_hooks_theorem.conditions.usable import Labelled, labelled

UNIT = "samples that fit, as a share of all"


@dataclass(frozen=True)
class Options:
    """Options of `Memorization`."""

    fraction: float = option(0.5, "Share of each layer's neurons kept; the others are free.", gt=0, lt=1)
    draws: int = option(3, "Random choices of features; they must be generic in one of them.", ge=1)


class Memorization(Condition):
    """Whether the free neurons after each layer can fit any labels to its kept features.

    Case (i) of the theorem of Nguyen, Bréchet and Mondelli (arXiv 2102.09671): where features are generic, two last
    hidden layers of order √N neurons suffice. The measured figure is the number of samples that the free neurons fit
    whatever their targets, by what is proven, divided by N; the layer holds when that is at least 1 and samples with
    different targets differ in the kept features of some draw. With m the free neurons of the layers after this one, k
    the features kept and C outputs, the largest of

    - k + 1, for an affine map of features in general position;
    - k·⌊m/(4C)⌋, for one hidden layer and features in general position: four times the ⌈N/k⌉ neurons of Baum (1988) fit
      real targets (Bubeck, Eldan, Lee and Mikulincer, 2020), once for each output;
    - 4·⌊m/4⌋·⌊m'/(4C)⌋, for two successive hidden layers and distinct features (Yun, Sra and Jadbabaie, 2019, Theorem
      3.1).

    These are sufficient, not necessary, and blind to the structure of the labels, which separability and sub-networks
    use. The details give ``parameters``, (m + 1)·m' for the two best layers, which must be of order N. Of a model that
    labels positions (tokens, pixels) each position is a sample: the figure is divided by their number, and rank and
    collisions are those of as many as there are samples, 1024 at least where there are so many.

    Time: N·n² a layer for the rank, N·log N for collisions; memory: the layer's features.
    """

    name = "memorization"
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer, or one for the network where its outputs have no labels."""
        answers = answers_at_positions(observation, self.seed)
        outputs = own_outputs(observation) if answers is None else None
        reason = not_one_answer(outputs) if isinstance(outputs, Tensor) else outputs
        if isinstance(answers, str) or isinstance(outputs, str) or reason is not None:
            yield Verdict.invalid(self.name, None, str(answers or reason))
            return
        targets, classes, counted = _asked(observation, outputs, answers)
        layers, widths = list(observation.layers), observation.widths()
        generator = torch.Generator().manual_seed(self.seed)
        for layer in self.progress.track(layers, "looking at features", len(layers)):
            found = labelled(observation, layer, targets, counted, answers)
            if isinstance(found, str):
                yield Verdict.invalid(self.name, layer, found)
                continue
            later = [widths[name] for name in layers[layers.index(layer) + 1 :] if name in widths]
            free = [width - self._kept(width) for width in later]
            yield self._verdict(layer, found, free, classes, generator)

    def _kept(self, width: int) -> int:
        return max(1, round(width * float(self.options.fraction)))

    def _verdict(
        self,
        layer: str,
        found: Labelled,
        free: Sequence[int],
        classes: int,
        generator: torch.Generator,
    ) -> Verdict:
        features, targets = found.features, found.targets
        kept, count = self._kept(features.shape[1]), len(features)
        order = torch.rand(self.options.draws, features.shape[1], generator=generator).argsort(1)[:, :kept]
        subsets = [features[:, each.to(features.device)] for each in order]
        colliding = [collisions(each, targets, generator) for each in subsets]
        best = min(range(len(subsets)), key=lambda draw: colliding[draw])
        covariance = Covariance()
        covariance.add(subsets[best])
        rank = ranks(covariance).numerical
        share = fitting_samples(rank, free, classes) / found.total
        details: dict[str, float | int | str | None] = {
            "colliding": colliding[best],
            "closest": closest(subsets[best], targets, generator),
            "rank": rank,
            "kept": kept,
            "free": " ".join(str(width) for width in free),
            "parameters": max(((one + 1) * two for one, two in itertools.pairwise(free)), default=0),
            "samples": count,
            **found.details,
        }
        holds = share >= 1 and colliding[best] == 0
        return Verdict(self.name, layer, holds, share, 1.0, UNIT, details=details)


def _asked(observation: Observation, outputs: Tensor | None, answers: Answers | None) -> tuple[Tensor, int, Tensor]:
    """Return targets, how many outputs answer each, and which of them count."""
    if answers is not None or outputs is None:
        assert answers is not None
        return answers.targets, answers.classes, torch.ones(len(answers.targets), dtype=torch.bool)
    return observation.targets(), outputs[0].numel(), samples_that_count(observation, outputs)


def fitting_samples(rank: int, free: Sequence[int], outputs: int) -> int:
    """Return how many samples can be fitted whatever their targets, by the bounds that `Memorization` names.

    Args:
        rank: Directions that the features use, which stands for k: general position in that many dimensions.
        free: Free neurons of the hidden layers that follow.
        outputs: C.
    """
    one = [rank * (width // (4 * outputs)) for width in free]
    two = [4 * (first // 4) * (second // (4 * outputs)) for first, second in itertools.pairwise(free)]
    return max([rank + 1, *one, *two])
