"""How a path is measured: at how many t, and which correction is applied there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectivity_hooks.contracts.correction import NONE, Correction
from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation.calibrated import Calibrating
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry


@dataclass(frozen=True)
class Measuring:
    """The arguments of `evaluate` by the same names."""

    points: int = 25
    refine: int = 4
    correct: Correction | None = None
    calibrate: Calibrating | None = None

    def describe(self) -> dict[str, object]:
        """Return them as JSON-ready values."""
        correction = {"correction": name_of(self.correct), "correction_options": options_of(self.correct)}
        described = {"points": self.points, "refine": self.refine, **correction}
        return described if self.calibrate is None else {**described, "calibrate": vars(self.calibrate)}


def name_of(correction: Correction | None) -> str:
    """Return a correction's name as a person types it."""
    return NONE if correction is None else correction.name


def options_of(correction: Correction | None) -> dict[str, object]:
    """Return a correction's options as written into every artifact."""
    return {} if correction is None else correction.used_options()


def make_correction(
    correct: str | Correction | None,
    options: Mapping[str, object] | None = None,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Correction | None:
    """Make a correction by its name and options; None, or ``none``, is no correction, and one that is made stays.

    Raises:
        UsageError: The name or an option is unknown, or options are given where none can be used.
    """
    if correct is None or correct == NONE or isinstance(correct, Correction):
        if options:
            raise UsageError(f"options of a correction are given ({', '.join(options)}), and no name of one")
        return correct if isinstance(correct, Correction) else None
    kind = registry().correction(correct)
    return kind(make_options(kind.Options, options or {}, correct), seed=seed, progress=progress)
