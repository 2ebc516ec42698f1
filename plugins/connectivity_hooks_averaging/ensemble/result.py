"""What an ensemble was found to be."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectivity_hooks.paths import EndPoint
from connectivity_hooks.tasks import Task


@dataclass(frozen=True)
class Scored:
    """Figures of one network or ensemble.

    Attributes:
        name: What it is.
        t: Where on the path, if it is a point of it.
        count: Predictions that count: samples, or tokens, pixels or outputs.
        plain: Accuracy, log-likelihood in nats a prediction, ECE and its bins; or the loss.
        temperature: Fitted on held-out training samples; None where there is none.
        tempered: The same figures of predictions at that temperature; None of a loss without classes.
        diversity: Of an ensemble: disagreement and mean KL divergence in nats over pairs; or the variance.
    """

    name: str
    t: float | None
    count: int
    plain: Mapping[str, Any]
    temperature: float | None
    tempered: Mapping[str, Any] | None
    diversity: Mapping[str, float] | None


@dataclass(frozen=True)
class Ensemble:
    """An ensemble along a path, and what it is compared with.

    Attributes:
        rows: Points, mean of weights, checkpoints beside, then ensembles.
        groups: Names of each ensemble's members.
        ts: Where the points are.
        has_classes: Whether probabilities were averaged; outputs otherwise.
        split: On which it was measured.
        held_out: Training samples that temperatures were fitted on.
        seed: Drew them.
        correction: Name of what was done to points and mean of weights; None for nothing.
        end_points: The path's checkpoints.
        builder: Who made it.
        task: Model, data and loss.
        notes: What a person should know.
    """

    rows: Sequence[Scored]
    groups: Mapping[str, Sequence[str]]
    ts: Sequence[float]
    has_classes: bool
    split: str
    held_out: int | None
    seed: int
    correction: str | None
    end_points: tuple[EndPoint, EndPoint] | None
    builder: str
    task: Task
    notes: Sequence[str]

    def __getitem__(self, name: str) -> Scored:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def shown(self) -> list[Scored]:
        """The rows without the points between the ends."""
        return [row for row in self.rows if row.t is None or row.t in (0.0, 1.0)]

    @property
    def whole(self) -> Scored:
        """The ensemble of all points."""
        return self[f"ensemble of {len(self.ts)} points" if len(self.ts) > 2 else "ensemble of A and B"]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        from connectivity_hooks_averaging.ensemble.report import content_of

        return content_of(self)

    def table(self, width: int | None = None) -> str:
        """Return a line for each end, the mean of weights, each checkpoint beside and each ensemble.

        Args:
            width: Columns of the terminal; None where lines may have any length.
        """
        from connectivity_hooks_averaging.ensemble.report import table_of

        return table_of(self, width)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ensemble.json, ensemble.svg and ensemble.html."""
        from connectivity_hooks_averaging.ensemble.report import write

        write(self, pathlib.Path(folder))
