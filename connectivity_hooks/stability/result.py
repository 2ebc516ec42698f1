"""The result of an instability analysis: the barrier between copies as a function of the step at which they part."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.stability.barrier_of_pairs import Instability, instability
from connectivity_hooks.stability.conclusion import StabilityConclusion, conclude
from connectivity_hooks.tasks.guessing import Guess

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Connection:
    """Two copies of one k, and what was measured between them.

    Attributes:
        step: k, the optimizer steps the copies share.
        a: Name of the first copy.
        b: Name of the second.
        curves: For each split the measurements in order of t.
        barriers: For each split the barriers; `barrier_frankle` and `error_barrier` are those of the analysis.
        length: Length of the path over the parameters; of the straight line, the distance of the copies.
    """

    step: int
    a: str
    b: str
    curves: Mapping[str, Sequence[Measurement]]
    barriers: Mapping[str, Barriers]
    length: float


@dataclass(frozen=True)
class Stability:
    """What was found at every k.

    Attributes:
        connections: Every pair of copies, in order of k.
        task: The task in words, see `Task.describe`.
        path: How copies were connected: builder and aligner with their options, batch norm, points and refine.
        seconds: Time it took, without what was known from before.
        notes: What a person should know.
        guessing: For each split what the best constant answer scores; None where that is not known.
    """

    connections: Sequence[Connection]
    task: Mapping[str, object]
    path: Mapping[str, object]
    seconds: float
    notes: Sequence[str] = ()
    guessing: Mapping[str, Guess | None] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, ...]:
        """Every k, in order."""
        return tuple(dict.fromkeys(connection.step for connection in self.connections))

    @property
    def splits(self) -> tuple[str, ...]:
        """``train`` and, if there is one, ``test``."""
        return tuple(self.connections[0].barriers)

    @property
    def instability(self) -> Mapping[str, Sequence[Instability]]:
        """For each split the barrier at every k: its mean over the pairs, their spread, and the interval."""
        return {
            split: tuple(
                instability([one.barriers[split] for one in self.connections if one.step == step], step)
                for step in self.steps
            )
            for split in self.splits
        }

    @property
    def conclusion(self) -> StabilityConclusion:
        """The answer in words."""
        return conclude(self.instability, self.guessing)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the curves as JSON-ready values; what is not a finite number is None and noted."""
        from connectivity_hooks.stability.report import content_of

        return content_of(self)

    def table(self) -> str:
        """Return a line for each k and split as plain text."""
        from connectivity_hooks.stability.report import stability_table

        return stability_table(self)

    def plot(self) -> Figure:
        """Return a figure of the loss barrier, and the error barrier where there is one, over k."""
        from connectivity_hooks.stability.figure import stability_figure

        return stability_figure(self.as_json())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write stability.csv, curves.csv, stability.svg, stability.html and, last, stability.json into `folder`."""
        from connectivity_hooks.stability.report import write_report

        write_report(self, pathlib.Path(folder))
