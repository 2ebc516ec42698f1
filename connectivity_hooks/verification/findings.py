"""What a verification found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["model", "weights", "end", "constant", "convex", "measured", "loss"]


NOT_COMPARED = "not compared with the checkpoints"
"""Of ends, where no checkpoints were given."""


@dataclass(frozen=True)
class Finding:
    """A claim of the file that does not hold.

    Attributes:
        kind: What it is about: the ``model``, ``weights``, an ``end``, a segment's guarantee, or the ``loss``.
        where: Segment or point, and tensor.
        reason: What was expected and what was found.
    """

    kind: Kind
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class Verification:
    """The outcome.

    Attributes:
        findings: Claims that do not hold; none means the file is what it says.
        bound: For each split the largest mean loss at the path's knots, which bounds the loss of the whole path; None
            where a segment is only measured, or a claim does not hold.
        largest: For each split the largest mean loss at the path's knots (all points of a polyline), and which it is.
        excess: Largest relative excess of an interior point over the larger end of its segment, on the samples looked
            at.
        deviation: Largest relative deviation of an output from what its segment's guarantee says, on them.
        segments: How many segments have each guarantee.
        ends: How the ends were checked, in words.
        task: Model, data and loss that losses and bound are of, see `Task.describe`.
        second_end: What the file says of an end that was aligned, in words; nothing is taken from it.
        notes: How a report beside the file differs from that.
        model: What the file says of the model beside its weights, in words, and whether it was compared.
        unseen_model: Whether the file says something of it, and nothing is known of the model that was given.
    """

    findings: tuple[Finding, ...]
    bound: Mapping[str, float | None]
    largest: Mapping[str, tuple[float, int]]
    excess: float
    deviation: float
    segments: Mapping[str, int]
    ends: str
    task: Mapping[str, object] = field(default_factory=dict)
    second_end: str = ""
    notes: tuple[str, ...] = ()
    model: str = ""
    unseen_model: bool = False

    @property
    def unseen_alignment(self) -> bool:
        """Whether the file says that an end was aligned, and no checkpoint was there to compare it with."""
        return bool(self.second_end) and self.ends == NOT_COMPARED

    @property
    def holds(self) -> bool:
        """Whether every claim of the file holds."""
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """Return everything as a JSON object."""
        largest = {name: {"loss": loss, "point": point} for name, (loss, point) in self.largest.items()}
        return {**dataclasses.asdict(self), "largest": largest, "holds": self.holds}

    def _subject(self) -> str:
        """Say what losses and bound are of: they are no claim of the file's, which names no data."""
        samples = self.task.get("samples")
        counted = samples.items() if isinstance(samples, Mapping) else ()
        sizes = " and ".join(f"{count} {name}" for name, count in counted)
        data = self.task.get("data") or "the data given"
        return f"losses are of {sizes} samples of {data} under {self.task.get('loss')}; the file itself names no data"

    def sentences(self) -> tuple[str, ...]:
        """Say the outcome in words."""
        counts = ", ".join(f"{count} {guarantee}" for guarantee, count in self.segments.items() if count)
        lines = [self._subject(), *self.notes, f"segments: {counts}; ends: {self.ends}"]
        lines += [f"the file says: {self.second_end}"] if self.second_end else []
        lines += [f"the model: {self.model}"] if self.model else []
        for name, (loss, point) in self.largest.items():
            proven = f"; the {name} loss is at most that for every t" if self.bound[name] is not None else ""
            lines.append(f"largest {name} loss at a point: {loss:.6g} (point {point}){proven}")
        lines.append(f"outputs deviate from the guarantees by {self.deviation:.1e} at most, relative")
        lines.append(f"interior points exceed the larger end of their segment by {self.excess:.1e} at most, relative")
        return tuple(lines)
