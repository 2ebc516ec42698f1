"""Alignment from weights alone."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.structure import transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights
from connectivity_hooks_alignment.matching.said import done
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Options:
    """Options of `WeightMatching`."""

    sweeps: int = option(100, "Passes over all spaces, at most; it stops when nothing moves.", ge=1)
    restarts: int = option(0, "Further starts, in other orders; the nearest copy is kept.", ge=0)
    polish: int = option(20, "Steps for each head whose neurons may be mixed; 0 for rotations and balance alone.", ge=0)


class WeightMatching(Aligner):
    """Neurons brought together by their weights; no data but a few samples for the check of symmetries is read.

    Coordinate descent over the spaces of the network, with all that may be done to each: neurons of ReLU networks are
    exchanged and scaled, those of tanh exchanged and flipped, the stream of a transformer is rotated, heads are
    exchanged and what is inside them rotated or mixed. The record says for each space what was done, how far the
    folded weights lay apart before and after, after how many sweeps nothing moved any more, and which start was kept.
    Seconds for networks of millions of weights; memory of three working copies of the
    weights, and for the widest space some matrices of its neurons in float64.
    """

    name = "weight-matching"
    Options = Options

    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Match by coordinate descent over the spaces of the network."""
        network, options = network_of(task, a, b), self.options
        found = match_weights(
            network.symmetries,
            a,
            b,
            sweeps=options.sweeps,
            restarts=options.restarts,
            polish=options.polish,
            seed=self.seed,
            progress=self.progress,
        )
        record = {
            **network.record(),
            "distance": {"before": found.before, "after": found.after},
            "sweeps": found.sweeps,
            "converged": found.converged,
            "start": found.kept,
            **done(network.symmetries, found.elements),
        }
        if not found.converged:
            self.progress.say(f"weight-matching: still moving after {found.sweeps} sweeps; more may bring it nearer")
        return Alignment(transformed(network.symmetries, b, found.elements, like=a), record)
