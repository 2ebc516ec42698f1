"""Alignment by what neurons do on the data."""

from __future__ import annotations

from dataclasses import dataclass

from connectivity_hooks.contracts import Aligner, Alignment, option
from connectivity_hooks.model import Weights
from connectivity_hooks.structure import transformed
from connectivity_hooks.tasks import Task
from connectivity_hooks_alignment.matching.by_activations.activations import MEASURES, match_activations
from connectivity_hooks_alignment.matching.by_activations.recording import SAMPLES, recorded, shortages
from connectivity_hooks_alignment.matching.said import done
from connectivity_hooks_alignment.network import network_of


@dataclass(frozen=True)
class Options:
    """Options of `ActivationMatching`."""

    measure: str = option(
        MEASURES[0], "Of neurons that are permuted: correlation counts each alike, covariance by its variance.",
        choices=MEASURES,
    )  # fmt: skip
    samples: int = option(
        SAMPLES, "Training samples that both networks are run on, drawn at random; tokens and pixels count too.", ge=2
    )


class ActivationMatching(Aligner):
    """Neurons brought together by what they do on training samples.

    Both networks are run once on the same samples, side by side. For each set of neurons that may be moved, the values
    that maps and products read are compared: hidden units after their activation, a stream as each norm gives it before
    γ, queries and keys where they meet, values before attention and after it. Permutations are found by assignment,
    rotations by Procrustes, heads by how well what is inside them can be brought together. Only covariances of the two
    networks' neurons are kept, in float64.
    """

    name = "activation-matching"
    Options = Options

    def align(self, a: Weights, b: Weights, task: Task) -> Alignment:
        """Match from one pass over samples of the training split."""
        network, options = network_of(task, a, b), self.options
        symmetries, measure = network.symmetries, options.measure
        seen = recorded(task, symmetries, a, b, samples=options.samples, seed=self.seed, progress=self.progress)
        notes = shortages(symmetries, seen)
        for note in notes:
            self.progress.say(f"activation matching: {note}")
        elements = match_activations(symmetries, seen, a, b, measure=measure)
        record = {**network.record(), "samples": seen.samples, "notes": notes, **done(symmetries, elements)}
        return Alignment(transformed(symmetries, b, elements, like=a), record)
