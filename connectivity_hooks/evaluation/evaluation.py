"""The result of evaluating a path."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from connectivity_hooks.contracts.correction import NONE
from connectivity_hooks.cost import Cost
from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.calibrated import Calibrated
from connectivity_hooks.evaluation.conclusion import Conclusion, conclude
from connectivity_hooks.evaluation.deviations import Deviation
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.evaluation.perplexity import Perplexity, perplexity_along
from connectivity_hooks.evaluation.units import TOKEN, unit_in
from connectivity_hooks.paths.path import Guarantee, Path
from connectivity_hooks.tasks.guessing import Guess
from connectivity_hooks.verification.proof import Proof

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evaluation:
    """Losses, errors and barriers along a path, and the proven bound where there is one.

    Attributes:
        path: The path.
        task: The task in words, see `Task.describe`, and the `unit`.
        curves: For each split the measurements in order of t.
        barriers: For each split the barriers.
        length: Euclidean length of the path over the parameters.
        guarantees: For each segment the guarantee that was relied on; ``measured`` where the path's own was refuted.
        deviations: Spot checks of the path's guarantees.
        proof: Whether the bound is proven, and what is missing.
        seconds: Time the evaluation took, interrupted runs included.
        build: What the builder cost; None where that is not known, as of a path from a file.
        alignment: What the aligner cost, once for all builders of a pair; None where there was none.
        guessing: For each split what the best constant answer scores; None where that is not known.
        threads: Threads of the processor that evaluated.
        notes: What a person should know of the buffers along the path, and of the correction.
        correction: Name of the correction that was applied to the weights at each t; ``none`` where there was none.
        correction_options: Its options.
        calibrated: The path measured again with a temperature at each t; None where it was not.
    """

    path: Path
    task: Mapping[str, object]
    curves: Mapping[str, Sequence[Measurement]]
    barriers: Mapping[str, Barriers]
    length: float
    guarantees: Sequence[Guarantee]
    deviations: Sequence[Deviation]
    proof: Proof
    seconds: float
    build: Cost | None = None
    alignment: Cost | None = None
    guessing: Mapping[str, Guess | None] = field(default_factory=dict)
    threads: int | None = None
    notes: Sequence[str] = ()
    correction: str = NONE
    correction_options: Mapping[str, object] = field(default_factory=dict)
    calibrated: Calibrated | None = None

    @property
    def unit(self) -> str | None:
        """What counts once in loss and error: ``token``, ``pixel``, or None for what has no other name than sample."""
        return unit_in(self.task)

    @property
    def perplexity(self) -> dict[str, Perplexity]:
        """For each split the perplexity along the path; empty where the loss is not that of tokens."""
        if self.unit != TOKEN:
            return {}
        return {split: perplexity_along(curve) for split, curve in self.curves.items()}

    @property
    def bound(self) -> dict[str, float | None]:
        """For each split sup_t L(θ(t)) over the whole continuous path, or None where it is not proven.

        It is the largest loss of the path's knots, none of which was left out; see `verification.proof` for the rule.
        """
        return {split: self._largest_knot(curve) if self.proven else None for split, curve in self.curves.items()}

    @property
    def proven(self) -> bool:
        """Whether everything that a bound needs was checked and holds."""
        return self.proof.holds

    @property
    def conclusion(self) -> Conclusion:
        """The answer in words."""
        return conclude(self)

    @property
    def relied(self) -> Path:
        """The path with those of its guarantees that were relied on."""
        return replace(self.path, guarantees=tuple(self.guarantees))

    def table(self) -> str:
        """Return the figures of every split as plain text, a line a split."""
        from connectivity_hooks.reports.tables import figures_table

        return figures_table([self])

    def plot(self) -> Figure:
        """Return a figure of loss and error along the path."""
        from connectivity_hooks.reports.plots import curves_figure

        return curves_figure([self])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write path, evaluation.csv, report.svg, report.html and report.json into `folder`."""
        from connectivity_hooks.reports.report import Report

        Report.of([self]).save(pathlib.Path(folder))

    def _largest_knot(self, curve: Sequence[Measurement]) -> float:
        knots = set(self.path.knots)
        return max(point.loss for point in curve if point.t in knots)
