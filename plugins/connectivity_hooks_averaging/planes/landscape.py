"""What was measured around checkpoints: a grid of scores, and the points that are drawn on it."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from connectivity_hooks.checkpoints import make_folder
from connectivity_hooks.tasks import Guess
from connectivity_hooks_averaging.planes.grid import Grid
from connectivity_hooks_averaging.scores import Score, Scores

CORNER, CHECKPOINT, PATH = "corner", "checkpoint", "path"


@dataclass(frozen=True)
class Marked:
    """A point that is drawn.

    Attributes:
        name: Of the checkpoint or of the path.
        kind: ``corner``, one that the frame is made of; ``checkpoint``, one projected; ``path``, a point of one.
        t: On its path; None of a checkpoint.
        at: Its coordinates, or those of its projection.
        distance: From the frame; 0 of a corner.
        scores: Its own.
        beneath: Those of its projection; its own of a corner.
    """

    name: str
    kind: str
    t: float | None
    at: tuple[float, ...]
    distance: float
    scores: Scores
    beneath: Scores


@dataclass(frozen=True)
class Landscape:
    """Loss and error around checkpoints.

    Attributes:
        kind: ``plane`` or ``slice``.
        grid: Where it was measured.
        scores: Of each place of the grid, in the order of `Grid.places`.
        points: What is drawn on it.
        inside: Of each place of the grid, whether it lies in the triangle of a plane's corners.
        labels: What the axes are.
        guessing: What guessing scores on each split, as a scale; None where that is not known.
        mixes_statistics: Whether running statistics of norms were mixed, and not measured anew.
        correction: Name and options of the correction.
        about: What it was made of, as JSON-ready values.
        task: What the task says of itself.
        notes: What a person should know.
    """

    kind: str
    grid: Grid
    scores: tuple[Scores, ...]
    points: tuple[Marked, ...]
    inside: tuple[bool, ...]
    labels: tuple[str, ...]
    guessing: Mapping[str, Guess | None]
    mixes_statistics: bool
    correction: Mapping[str, object]
    about: Mapping[str, object]
    task: Mapping[str, object]
    notes: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """What it shows, in words."""
        from connectivity_hooks_averaging.planes.words import sentences_of

        return sentences_of(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write pictures, tables, JSON and a page into a folder, which is made where it is missing."""
        from connectivity_hooks_averaging.planes.writing import save

        make_folder(pathlib.Path(folder))
        save(self, pathlib.Path(folder))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, training first."""
        return tuple(self.scores[0])

    @property
    def has_errors(self) -> bool:
        """Whether the loss has a notion of errors."""
        return all(score.error is not None for score in self.scores[0].values())

    def lowest(self, split: str) -> tuple[float, tuple[float, ...]]:
        """Return the lowest loss of the grid and the corners, and where it is."""
        corners = [(each.scores[split].loss, each.at) for each in self.points if each.kind == CORNER]
        return min(
            [*corners, *((each[split].loss, at) for at, each in zip(self.grid.places(), self.scores, strict=True))]
        )

    def not_finite(self, split: str) -> int:
        """Return at how many places of the grid the loss is not a finite number."""
        return sum(not math.isfinite(each[split].loss) for each in self.scores)

    def highest_inside(self, split: str) -> Score | None:
        """Return the scores with the largest loss in the triangle; None where no place of the grid lies in it."""
        found = [each[split] for each, inside in zip(self.scores, self.inside, strict=True) if inside]
        return max(found, key=lambda score: score.loss, default=None)
