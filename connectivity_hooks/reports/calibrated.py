"""What is told of a path that was measured with a temperature at each t beside the plain barrier."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectivity_hooks.evaluation.calibrated import Calibrated
    from connectivity_hooks.evaluation.evaluation import Evaluation


def calibrated_json(found: Calibrated | None) -> dict[str, Any] | None:
    """Return it as JSON-ready values: where it was measured, the temperatures, and the figures of each split."""
    if found is None:
        return None
    return {
        "held_out": found.samples,
        "seed": found.seed,
        "t": list(found.ts),
        "temperatures": list(found.temperatures),
        **{split: _figures(found, split) for split in found.barriers},
    }


def calibrated_lines(evaluation: Evaluation) -> list[str]:
    """Return a line for each split: both barriers and the temperatures at the ends and where the barrier is highest."""
    found = evaluation.calibrated
    if found is None:
        return []
    lines = []
    for split, figures in found.barriers.items():
        plain = evaluation.barriers[split].barrier_entezari
        ends = f"{_shown(found.temperature(0.0))} at A, {_shown(found.temperature(1.0))} at B"
        worst = figures.worst_t
        inner = "" if worst in (0.0, 1.0) else f", {_shown(found.temperature(worst))} at t = {worst:.3f}"
        lines.append(
            f"{split} barrier {figures.barrier_entezari:.4g} at calibrated temperatures, {plain:.4g} without; "
            f"T {ends}{inner}"
        )
    bound = " The proven bound is not about it." if evaluation.proven else ""
    without = sum(temperature is None for temperature in found.temperatures)
    right = (
        f" At {without} of {len(found.ts)} t there is none, as where all of these are right: taken as it is."
        if without
        else ""
    )
    lines.append(f"calibrated: each t by its own T, fitted on {found.samples} training samples held out.{right}{bound}")
    return lines


def _figures(found: Calibrated, split: str) -> dict[str, Any]:
    worst = found.barriers[split].worst_t
    return {
        **dataclasses.asdict(found.barriers[split]),
        "losses": [point.loss for point in found.curves[split]],
        "temperature_a": found.temperature(0.0),
        "temperature_b": found.temperature(1.0),
        "temperature_worst": found.temperature(worst),
    }


def _shown(temperature: float | None) -> str:
    return "none" if temperature is None else f"{temperature:.3g}"
