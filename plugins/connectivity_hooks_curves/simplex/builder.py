"""The builder whose path is a route through a trained simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectivity_hooks.contracts import Builder
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.simplex.complex import Complex, Vertex, star_of
from connectivity_hooks_curves.simplex.training import (
    SimplexOptions,
    TrainedConnectors,
    ZeroVolume,
    train_connectors,
)


class Simplex(Builder):
    """A route through a volume of low loss between the checkpoints.

    Trains `connectors` points so that the loss is low in the whole simplex of them and either checkpoint, and pushes
    them apart: min E_{w ~ Dir(1)} L(Σ w_j·θ_j) − λ·log V (Benton et al. 2021, arXiv 2102.13042). The path goes straight
    from A to the middle of the connectors and on to B, which is inside. The volume itself, of any number of
    checkpoints, is what ``connectivity-hooks simplex`` writes. Parameters are trained; frozen ones and buffers are the
    checkpoints' combined, and networks with batch norm need ``--correct batch-norm``. Nothing is proven between
    measured points. A step costs a plain training step and some passes over the parameters of all vertices; memory is
    that of the two ends and, for each connector, of five vectors of parameters.
    """

    name = "simplex"
    Options = SimplexOptions
    together = True

    def build(self, a: Weights, b: Weights, task: Task) -> Path:
        """Train the connectors, and return the route."""
        options: SimplexOptions = self.options
        try:
            found = train_connectors([a, b], task, options, seed=self.seed, work=self.work, progress=self.progress)
        except ZeroVolume:
            self.progress.say("simplex: the ends are equal in all that is trained, so the volume is zero")
            return Path.from_points([a, b])
        self.remarks = {"steps": found.steps} | ({"ended": found.note} if found.note else {})
        if found.note:
            self.progress.say(f"{self.name}: {found.note}")
        ends = (Vertex("A"), Vertex("B"))
        return complex_of([a, b], ends, found).route(0, 1)


def complex_of(
    modes: Sequence[Weights],
    vertices: Sequence[Vertex],
    found: TrainedConnectors,
    dtypes: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Complex:
    """Return the volume between checkpoints and their trained connectors.

    Args:
        modes: Weights of the checkpoints.
        vertices: What each of them is.
        found: The connectors.
        dtypes: See `Complex`.
        options: See `Complex`.
        facts: See `Complex`.
    """
    connectors = found.connectors
    return Complex(
        weights=(*modes, *connectors),
        vertices=(*vertices, *(Vertex() for _ in connectors)),
        simplices=star_of(len(modes), len(connectors)),
        coordinates=found.coordinates,
        dtypes=dtypes or {},
        options=options or {},
        training={"steps": found.steps, "losses": list(found.losses), "note": found.note},
        facts=dict(facts or {}),
    )
