"""`ch.ensemble`: predictions of points along a path averaged, beside what they are to be compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from connectivity_hooks.contracts import Correction, make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import Passes, read_task, tracked_norms
from connectivity_hooks.paths import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import Split, Task
from connectivity_hooks_averaging.arguments import number, require_file, require_files, whole
from connectivity_hooks_averaging.ensemble import members as of
from connectivity_hooks_averaging.ensemble.kinds import AnyTally, Kind
from connectivity_hooks_averaging.ensemble.result import Ensemble, Scored
from connectivity_hooks_averaging.ensemble.sweep import Sweep
from connectivity_hooks_averaging.set import CheckpointSet, read_set

MOST = 1000
"""Points: so many passes over the data."""

HOLD_OUT = 0.1

File = str | os.PathLike[str]


@dataclass(frozen=True)
class Ensembling:
    """How an ensemble is made.

    Attributes:
        points: Along the path, the ends among them.
        hold_out: Share of the training samples that temperatures are fitted on.
        correction: What is done to the weights of the points and to the mean of weights first.
        seed: Draws the held-out samples.
    """

    points: int = 5
    hold_out: float = HOLD_OUT
    correction: Correction | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        whole("ensemble: points", self.points, 2, MOST)
        number("ensemble: hold_out", self.hold_out, 0, 1, inside=True)
        whole("ensemble: seed", self.seed)


def ensemble(
    path: Path | File,
    task: Task,
    *,
    points: int = 5,
    beside: Sequence[File] = (),
    hold_out: float = HOLD_OUT,
    correct: str | None = None,
    correct_options: Mapping[str, object] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Ensemble:
    """Average the predictions of points along a path (Garipov et al. 2018), and compare.

    Points are evenly spaced by the path's length. Under ``cross-entropy`` and ``bce`` probabilities are averaged in
    float64; measured are accuracy, log-likelihood, calibration (ECE in 15 bins, Guo et al. 2017, before and after a
    temperature) and diversity, on the test split, or on the training split where there is none. Temperatures are fitted
    on training samples held out here. Under ``mse`` outputs are averaged. Compared with are both ends, the ensemble of
    both, the mean of the points' weights, and checkpoints beside the path with the ensemble of all of them.
    Time: a pass over the test split and one over the held-out samples for each point and checkpoint. Memory: one model,
    a checkpoint, the path, and at most 256 MB of batches and sums; of corrected points what the correction changes.

    Args:
        path: The path, or its file.
        task: Model, data and loss.
        points: k, from 2.
        beside: Files or folders of other checkpoints.
        hold_out: Share of the training samples for the temperatures.
        correct: Name of a correction of the points and of the mean of weights.
        correct_options: Its options by name.
        seed: Draws the samples.
        progress: Shows how far it is.

    Raises:
        InputError: Path or checkpoints do not fit the model, or the loss is another one.
        UsageError: Numbers that cannot be, or an unknown correction.
    """
    if not isinstance(path, Path):
        require_file("ensemble: path", path)
    require_files("ensemble: beside", beside)
    Ensembling(points, hold_out, seed=seed)  # refuses what cannot be
    correction, how = None, Ensembling(int(points), float(hold_out), seed=int(seed))
    if correct is not None:
        kind = registry().correction(correct)
        correction = kind(make_options(kind.Options, correct_options or {}, correct), seed=seed)
    found = path if isinstance(path, Path) else Path.load(path)
    return ensembled(found, task, replace(how, correction=correction), beside, progress)


def ensembled(
    path: Path, task: Task, how: Ensembling, beside: Sequence[File] = (), progress: Progress = SILENT
) -> Ensemble:
    """Do what `ensemble` does, with a correction that is made."""
    Kind.of(task.loss)
    others = read_set(beside, task, progress) if beside else None
    with Passes(path, task) as passes:
        passes.require_faithful((path.start, path.end))
        task, readings, *_ = read_task(passes, task)
        ts = of.evenly(path, how.points, of.coordinates(passes.model, path))
        on_path = of.on_path(path, ts, task, how.correction)
        mean = of.weight_mean(path, ts, task, how.correction)
        names = [member.name for member in on_path]
        taken = [*names, mean.name, *_groups(names, beside)]
        alone = of.beside(others, task, taken) if others else []
        groups = _groups(names, [member.name for member in alone])
        sweep = Sweep(passes, Kind.of(task.loss), [*on_path, mean, *alone], groups, task.batch_size)
        held_out = task.train.sample(max(1, round(how.hold_out * len(task.train))), how.seed)
        split = task.train if task.test is None else task.test
        temperatures = _temperatures(sweep, held_out, progress)
        scored = _scored(sweep, split, temperatures, progress)
        notes = [*passes.notes, *readings, *(_notes_on(others) if others else ()), *_notes(task, how, temperatures)]
    return Ensemble(
        rows=tuple(scored),
        groups=groups,
        ts=tuple(ts),
        has_classes=sweep.kind.has_classes,
        split=split.name,
        held_out=len(held_out) if sweep.kind.has_classes else None,
        seed=how.seed,
        correction=how.correction.name if how.correction else None,
        end_points=path.end_points,
        builder=path.builder,
        task=task,
        notes=tuple(dict.fromkeys(notes)),
    )


def _groups(points: Sequence[str], beside: Sequence[File]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {"ensemble of A and B": (points[0], points[-1])}
    if len(points) > 2:
        groups[f"ensemble of {len(points)} points"] = tuple(points)
    if len(beside) > 1:
        groups[f"ensemble of {len(beside)} beside"] = tuple(map(str, beside))
    return groups


def _temperatures(sweep: Sweep, held_out: Split, progress: Progress) -> dict[str, float | None]:
    if not sweep.kind.has_classes:
        return {}
    progress.say(f"fitting temperatures on {len(held_out)} training samples")
    return sweep.temperatures(held_out)


@dataclass
class _Counted:
    """What is summed up of one row."""

    plain: AnyTally
    tempered: AnyTally
    diversity: list[torch.Tensor] = field(default_factory=list)
    pool: Any = None


def _scored(sweep: Sweep, split: Split, temperatures: Mapping[str, float | None], progress: Progress) -> list[Scored]:
    counted: dict[str, _Counted] = {}
    rows = sweep.over(split)
    for name, values, wanted, pool in progress.track(rows, f"predicting {split.name}", None):
        if name not in counted:
            counted[name] = _Counted(sweep.kind.tally(), sweep.kind.tally(temperatures.get(name)), pool=pool)
        found = counted[name]
        found.plain.add(values, wanted)
        if sweep.kind.has_classes:
            found.tempered.add(values, wanted)
        if pool is not None:
            found.diversity.append(pool.diversity())
    places = {member.name: member.t for member in sweep.members}
    return [_row(name, found, places.get(name), temperatures.get(name), sweep.kind) for name, found in counted.items()]


def _row(name: str, found: _Counted, t: float | None, temperature: float | None, kind: Kind) -> Scored:
    count = float(found.plain.sums[0])
    if not count:
        raise InputError("ensemble: no target counts, nothing is left to measure")
    diversity = None if found.pool is None else found.pool.figures(torch.stack(found.diversity).sum(0), count)
    tempered = found.tempered.figures() if kind.has_classes else None
    return Scored(name, t, round(count), found.plain.figures(), temperature, tempered, diversity)


def _notes_on(others: CheckpointSet) -> list[str]:
    return [*others.notes, *(f"{name} has the weights of {one} and counts once" for name, one in others.equal.items())]


def _notes(task: Task, how: Ensembling, temperatures: Mapping[str, float | None]) -> list[str]:
    notes = []
    if none := [name for name, temperature in temperatures.items() if temperature is None]:
        notes.append(
            f"no temperature fits {', '.join(none)}: all held-out samples are predicted right, so that the surer the "
            "better, or outputs are not finite numbers"
        )
    if Kind.of(task.loss).has_classes:
        notes.append(
            "temperatures are fitted on training samples; where the checkpoints were trained on these, they are surer "
            "of them than of new ones, and the temperature is too low"
        )
    if how.correction is None and tracked_norms(task.structure()):
        notes.append("batch norm: statistics between the ends are combined ones; correct='batch-norm' measures them")
    return notes
