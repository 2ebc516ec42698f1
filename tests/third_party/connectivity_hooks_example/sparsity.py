from dataclasses import dataclass

import torch

from connectivity_hooks.contracts import Condition, Verdict, option


@dataclass(frozen=True)
class Options:
    most: float = option(0.9, "Largest share of zeros allowed.", ge=0, le=1)


class Sparsity(Condition):
    """The share of a layer's features that are zero."""

    name = "sparsity"
    Options = Options

    def check(self, observation):
        for layer in observation.layers:
            try:
                features = observation.features(layer)
            except KeyError:
                yield Verdict.invalid(self.name, layer, "the layer never fired")
                continue
            if not torch.isfinite(features).all():
                yield Verdict.invalid(self.name, layer, "its features hold NaN or Inf")
                continue
            zeros = float((features == 0).double().mean())
            yield Verdict(self.name, layer, zeros <= self.options.most, zeros, self.options.most, "share of features")
