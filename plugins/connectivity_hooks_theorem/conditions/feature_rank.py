"""Condition ``feature-rank``: how many directions do a layer's features use?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.features import Observation
from connectivity_hooks_theorem.conditions.rank import Covariance, ranks

UNIT = "share of directions"


@dataclass(frozen=True)
class Options:
    """Options of `FeatureRank`."""

    least: float = option(0.5, "Share of the possible directions that the features must use.", ge=0, le=1)


class FeatureRank(Condition):
    """Whether each layer's features use enough of their directions.

    Case (i) of the theorem of Nguyen, Bréchet and Mondelli (arXiv 2102.09671) asks for generic features: samples in
    general position. Features confined to few directions are not generic, and dead or collapsed neurons can carry
    nothing. The measured figure is the numerical rank of the centred features divided by the largest it could be,
    min(n, N-1); the layer holds when that is at least ``least``. The details give the effective rank (exp of the
    entropy of the singular values, Roy and Vetterli 2007) and the stable rank, which do not depend on a tolerance.

    One pass over the data for all layers. Time N·n·min(N, n) a layer; memory n·min(N, n) in float64 a layer.
    """

    name = "feature-rank"
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer."""
        gathered: dict[str, Covariance] = {}
        spoilt: set[str] = set()
        total = -(-len(observation.split) // observation.batch_size)
        for features, _ in self.progress.track(observation.batches(), "gathering covariances", total):
            for layer, batch in features.items():
                if not bool(torch.isfinite(batch).all()):
                    spoilt.add(layer)
                gathered.setdefault(layer, Covariance()).add(batch)
        for layer in observation.layers:
            if layer not in gathered or layer in observation.problems:
                yield Verdict.invalid(self.name, layer, observation.why_not(layer))
            elif layer in spoilt:
                yield Verdict.invalid(self.name, layer, "its features hold NaN or Inf")
            else:
                yield self._verdict(layer, gathered[layer], observation.pooled(layer))

    def _verdict(self, layer: str, covariance: Covariance, pooled: Mapping[str, float | int | str | None]) -> Verdict:
        if not covariance.neurons:
            return Verdict.invalid(self.name, layer, "it has no neurons")
        possible = min(covariance.neurons, covariance.count - 1)
        if possible < 1:
            return Verdict.invalid(self.name, layer, f"a rank needs two samples or more, found {covariance.count}")
        found = ranks(covariance)
        share = min(1.0, found.numerical / possible)
        details: dict[str, float | int | str | None] = {
            "rank": found.numerical,
            "effective_rank": found.effective,
            "stable_rank": found.stable,
            "neurons": found.neurons,
            "constant": found.constant,
            "samples": covariance.count,
            **pooled,
        }
        return Verdict(self.name, layer, share >= self.options.least, share, self.options.least, UNIT, details=details)
