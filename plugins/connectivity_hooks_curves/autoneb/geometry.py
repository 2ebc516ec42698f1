"""Tangents of a chain of points, and distances along it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from connectivity_hooks_curves.training.vectors import Point, dot, length


def tangent(before: Point, here: Point, after: Point, loss_before: Tensor, loss_after: Tensor) -> list[Tensor]:
    """Return the direction of a chain at one of its points: towards or from the neighbour of higher loss.

    Draxler et al. 2018 (arXiv 1803.00885), after Henkelman and Jónsson 2000: with that neighbour alone, since the mean
    of both directions makes kinks. Not of length 1. Nothing waits for the device.
    """
    onward = loss_after > loss_before
    return [torch.where(onward, c - b, b - a) for a, b, c in zip(before, here, after, strict=True)]


def project_off(x: Point, direction: Point) -> None:
    """Take out of x, in place, what it has along a direction: x − (x·τ)τ, τ = direction/‖direction‖."""
    squared = dot(direction, direction)
    share = dot(x, direction) / squared.clamp_min(torch.finfo(squared.dtype).tiny)
    for part, along in zip(x, direction, strict=True):
        part.sub_(along * share)


def distances(points: Sequence[Point]) -> list[float]:
    """Return how far it is from each point to the next; this waits for the device."""
    gaps = [length([q - p for p, q in zip(here, there, strict=True)]) for here, there in itertools.pairwise(points)]
    return [float(gap) for gap in torch.stack(gaps).tolist()]


def redistributed(points: Sequence[Point], shares: Sequence[float]) -> list[list[Tensor]]:
    """Return new inner points on the chain of straight lines, whose segments have given shares of its length.

    Args:
        points: Of the chain, ends included.
        shares: One for each segment, of sum 1.
    """
    reached = list(itertools.accumulate(distances(points), initial=0.0))
    wanted = [share * reached[-1] for share in itertools.accumulate(shares)][:-1]
    return [_at(points, reached, where) for where in wanted]


def _at(points: Sequence[Point], reached: Sequence[float], where: float) -> list[Tensor]:
    segment = min(bisect.bisect_right(reached, where), len(points) - 1) - 1
    gap = reached[segment + 1] - reached[segment]
    share = (where - reached[segment]) / gap if gap else 0.0
    return [torch.lerp(p, q, share) for p, q in zip(points[segment], points[segment + 1], strict=True)]
