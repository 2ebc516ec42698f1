"""The training of a simplex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectivity_hooks.contracts import UNKEPT, Work, option
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.simplex.points import Connectors, untrained_at
from connectivity_hooks_curves.training.settings import TrainingOptions
from connectivity_hooks_curves.training.training import Training, trained_at
from connectivity_hooks_curves.training.untrained import Untrained


@dataclass(frozen=True)
class SimplexOptions(TrainingOptions):
    """How a simplex is trained."""

    connectors: int = option(2, "Trained points that all checkpoints are joined through.", ge=1, le=50)
    volume: float = option(1e-3, "λ of −λ·log V, V the volume; 0: none is asked for.", ge=0)


class ZeroVolume(InputError):
    """Two vertices are equal in all that is trained."""


@dataclass(frozen=True)
class TrainedConnectors:
    """What a training gave.

    Attributes:
        connectors: Weights of each.
        coordinates: Names of the trained parameters, which the volume is one of.
        steps: Steps done.
        losses: Mean training loss of each window of steps.
        note: Why it ended before its budget did, in words; empty where it did not.
    """

    connectors: tuple[Weights, ...]
    coordinates: tuple[str, ...]
    steps: int
    losses: tuple[float, ...]
    note: str = ""


def train_connectors(
    modes: Sequence[Weights],
    task: Task,
    options: SimplexOptions,
    *,
    seed: int = 0,
    work: Work = UNKEPT,
    progress: Progress = SILENT,
) -> TrainedConnectors:
    """Train the points that k checkpoints are joined through: min E_{w ~ Dir(1)} L(Σ w_j·θ_j) − λ·log V.

    Benton et al. 2021 (arXiv 2102.13042), equation 3, with one place and one batch a step, and all connectors at once.
    For each checkpoint there is the simplex of it and of all connectors; V is the volume of these together.

    Args:
        modes: Weights of the checkpoints, which stay.
        task: Model, data and loss.
        options: How.
        seed: Of places, of batches, of where connectors begin, and of what the module draws.
        work: Keeps the state.
        progress: Shows the loss.

    Raises:
        ZeroVolume: Two checkpoints are equal in all that is trained.
        InputError: The model has nothing to train or no gradients, or a pass fails.
    """
    with trained_at(modes[0], task) as flat:
        points = Connectors(flat, modes, options.connectors, options.volume, seed)
        if points.equal is not None:
            one, other = (number + 1 for number in points.equal)
            raise ZeroVolume(
                f"checkpoints {one} and {other} are equal in all that is trained, so the volume between them is zero; "
                "leave one out"
            )
        run = Training(flat, points, Untrained(flat, *modes, at=untrained_at), task, options, seed=seed, work=work)
        note = run.train(progress)
        names = tuple(name for group in flat.groups for name in group.names)
        return TrainedConnectors(points.weights(), names, run.step, tuple(run.losses), note)
