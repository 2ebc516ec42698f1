"""A stretch of a network: what lies between two cuts, run under narrow weights or whole ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.structure import Step, run_step
from connectivity_hooks_theorem.certified.network.network import Layer, Network
from connectivity_hooks_theorem.certified.network.values import Values, gathered


@dataclass(frozen=True)
class Stretch:
    """What a network computes from one cut up to a later one.

    Attributes:
        network: The network.
        cut: Index of the cut where it begins.
        until: Index of the cut where it ends; None: it ends at the outputs.
    """

    network: Network
    cut: int
    until: int | None = None

    @property
    def onwards(self) -> Stretch:
        """From the same cut to the outputs."""
        return Stretch(self.network, self.cut)

    @property
    def rest(self) -> Stretch:
        """From its end to the outputs, for a stretch that ends at a cut."""
        assert self.until is not None
        return Stretch(self.network, self.until)

    @property
    def steps(self) -> Sequence[Step]:
        """The steps, in order."""
        cuts = self.network.cuts
        return self.network.program.steps[cuts[self.cut].start : None if self.until is None else cuts[self.until].start]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order: the steps with weights."""
        names = {step.name for step in self.steps}
        return tuple(layer for layer in self.network.layers if layer.step.name in names)

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """The layers without the output layer."""
        return tuple(layer for layer in self.layers if layer is not self.network.output)

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values at its end."""
        steps, cuts = self.network.program.steps, self.network.cuts
        return (steps[-1].name,) if self.until is None else cuts[self.until].values

    def run(self, weights: Mapping[str, Tensor], values: Values, momentum: float | None = None) -> Values:
        """Return the values at its end from those at its beginning.

        Args:
            weights: Weights of the steps, narrow or whole.
            values: Values where it begins.
            momentum: None uses the stored statistics of norms; a share uses each batch's own and moves the stored ones,
                in place, that far towards them.
        """
        steps, wanted = self.steps, self.values
        last = {name: index for index, step in enumerate(steps) for name in step.inputs}
        now = dict(values)
        for index, step in enumerate(steps):
            if step.kind == "norm" and momentum is not None:
                now[step.name] = _normalised(step, weights, now[step.inputs[0]], momentum)
            else:
                now[step.name] = run_step(step, weights, now)
            for name in step.inputs:
                if last[name] == index and name not in wanted:
                    now.pop(name, None)  # maps are large: none is held longer than it is read
        return {name: now[name] for name in wanted}

    def run_all(
        self, weights: Mapping[str, Tensor], batches: Iterable[Values], count: int, into: Tensor | None = None
    ) -> Values:
        """Return what `run` gives for all `count` samples; see `gathered`."""
        return gathered((self.run(weights, values) for values in batches), count, into=into)


def _normalised(step: Step, weights: Mapping[str, Tensor], value: Tensor, momentum: float) -> Tensor:
    roles = {role: weights[name] for role, name in step.weights.items()}
    return F.batch_norm(
        value, roles["mean"], roles["var"], roles.get("weight"), roles.get("bias"), True, momentum, step.eps
    )
