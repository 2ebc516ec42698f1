"""Barriers: how far the loss rises above the ends along a path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectivity_hooks.evaluation.measurement import Measurement


@dataclass(frozen=True)
class Barriers:
    """The loss along a path in figures, for one split.

    Every interval is that of the one t it names, where the figure is largest among those measured; that this t was
    chosen for being the largest is not in it.

    Attributes:
        loss_max: max_t L(θ(t)), the saddle value (Draxler et al. 2018).
        loss_min: min_t L(θ(t)).
        loss_mean: Mean of L along the path, weighted by arc length (Garipov et al. 2018).
        error_max: max_t of the error; None where the loss has no errors.
        barrier_entezari: max_t [L(θ(t)) - (1-t)·L_A - t·L_B] (Entezari et al. 2022).
        barrier_frankle: max_t L(θ(t)) - (L_A + L_B)/2 (Frankle et al. 2020).
        error_barrier: max_t error - mean of the ends' errors, as Frankle et al. 2020 measure instability.
        barrier_interval: Half-width of the 95 % confidence interval of the excess at `worst_t`, paired by sample.
        frankle_interval: The same of `barrier_frankle`, where the loss is largest.
        error_barrier_interval: The same of `error_barrier`, where the error is largest.
        worst_t: Where the excess is largest.
        climb: max_t L(θ(t)) - max(L_A, L_B), at least 0 (Draxler et al. 2018): what verdicts are about.
        climb_interval: Half-width of its 95 % confidence interval at `climb_t`, paired by sample.
        climb_t: Where the loss is largest.
        error_climb: The same of the error; None where the loss has no errors.
        error_climb_interval: Half-width of its 95 % confidence interval at `error_climb_t`, paired by sample.
        error_climb_t: Where the error is largest.
        loss_ends: L_A and L_B.
        error_ends: The ends' errors; None where the loss has no errors.
    """

    loss_max: float
    loss_min: float
    loss_mean: float
    error_max: float | None
    barrier_entezari: float
    barrier_frankle: float
    error_barrier: float | None
    barrier_interval: float
    frankle_interval: float
    error_barrier_interval: float | None
    worst_t: float
    climb: float
    climb_interval: float
    climb_t: float
    error_climb: float | None
    error_climb_interval: float | None
    error_climb_t: float | None
    loss_ends: tuple[float, float]
    error_ends: tuple[float, float] | None


def barriers(curve: Sequence[Measurement], arc: npt.NDArray[np.float64]) -> Barriers:
    """Compute every barrier of one split.

    Args:
        curve: Measurements in order of t, from 0 to 1.
        arc: Length of the path up to each of them.
    """
    losses = np.array([point.loss for point in curve])
    worst = max(curve, key=lambda point: point.excess)
    highest = max(curve, key=lambda point: point.loss)
    errors = [point.error for point in curve if point.error is not None]
    wrongest = max(curve, key=lambda point: point.error or 0.0)
    return Barriers(
        loss_max=float(losses.max()),
        loss_min=float(losses.min()),
        loss_mean=_mean_along(losses, arc, np.array([point.t for point in curve])),
        error_max=max(errors) if errors else None,
        barrier_entezari=worst.excess,
        barrier_frankle=_difference(highest.loss, (curve[0].loss + curve[-1].loss) / 2),
        error_barrier=max(errors) - (errors[0] + errors[-1]) / 2 if errors else None,
        barrier_interval=worst.excess_interval,
        frankle_interval=highest.rise_interval,
        error_barrier_interval=wrongest.error_rise_interval,
        worst_t=worst.t,
        climb=_difference(highest.loss, max(curve[0].loss, curve[-1].loss)),
        climb_interval=highest.climb_interval,
        climb_t=highest.t,
        error_climb=max(errors) - max(errors[0], errors[-1]) if errors else None,
        error_climb_interval=wrongest.error_climb_interval,
        error_climb_t=wrongest.t if errors else None,
        loss_ends=(float(losses[0]), float(losses[-1])),
        error_ends=(errors[0], errors[-1]) if errors else None,
    )


def _difference(loss: float, reference: float) -> float:
    """Return how far a loss is above a reference; infinite where either is not a finite number."""
    return loss - reference if math.isfinite(reference) else math.inf


def _mean_along(losses: npt.NDArray[np.float64], arc: npt.NDArray[np.float64], t: npt.NDArray[np.float64]) -> float:
    if not np.isfinite(losses).all():
        return float("inf")
    along = arc if arc[-1] > 0 else t
    return float(((losses[1:] + losses[:-1]) / 2 * np.diff(along)).sum() / along[-1])
