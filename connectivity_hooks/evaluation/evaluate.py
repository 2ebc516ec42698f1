"""Evaluating a path: a forward pass over the data for every t that needs one, closed form for the rest."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch

from connectivity_hooks.contracts.correction import Correction
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation import grid
from connectivity_hooks.evaluation.anchors import Anchors
from connectivity_hooks.evaluation.barriers import barriers
from connectivity_hooks.evaluation.calibrated import Calibrating
from connectivity_hooks.evaluation.calibrated import calibrate as calibrated_along
from connectivity_hooks.evaluation.calibration import require_logits
from connectivity_hooks.evaluation.divided import divided
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measurement import Measurement, SampleScores, summarise
from connectivity_hooks.evaluation.measuring import Measuring, make_correction, name_of, options_of
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.evaluation.reliance import Reliance, reliance
from connectivity_hooks.evaluation.scorer import Scorer
from connectivity_hooks.evaluation.units import unit_of
from connectivity_hooks.paths.geometry import arc_lengths
from connectivity_hooks.paths.path import MEASURED, Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks.guessing import guess
from connectivity_hooks.tasks.own_loss import said_before, settle_loss
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.tasks.telling import telling
from connectivity_hooks.team import current
from connectivity_hooks.verification.proof import Seen, prove

_LOST = 10.0
"""Seconds of work that a kill may lose at most, where many points are scored together."""
_FIRST = 4
"""Points scored together before it is known how long one takes."""


class Record(Protocol):
    """Remembers measurements, so that an interrupted evaluation goes on where it stopped.

    Attributes:
        earlier: Seconds that interrupted runs took for what is known of them.
    """

    earlier: float

    def __len__(self) -> int:
        """Return at how many t measurements are known."""
        ...

    def known(self, t: float) -> list[Measurement] | None:
        """Return the measurements made at t before, one for each split; None if there are none."""
        ...

    def add(self, measurements: list[Measurement]) -> None:
        """Remember the measurements of one t."""
        ...


def evaluate(
    path: Path,
    task: Task,
    *,
    points: int = 25,
    refine: int = 4,
    correct: str | Correction | None = None,
    correct_options: Mapping[str, object] | None = None,
    calibrate: Calibrating | None = None,
    record: Record | None = None,
    start: dict[str, SampleScores] | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure loss and error along `path` on every split, at the same samples for every t; plugins are not told.

    `ch.evaluate` is `connectivity_hooks.connecting.evaluate`, which tells them, and keeps what is measured.
    Segments without a guarantee are measured at an even grid, then in `refine` rounds at the two midpoints beside the
    largest training loss. A ``convex`` segment's interior comes from the outputs of its two ends, a ``constant``
    segment's from one of them; both guarantees are checked first, see `reliance`, and a segment whose guarantee does
    not hold is measured like one without.
    Time: (points + 2·refine) passes over the data for a path without guarantees, one pass for each run of ``constant``
    segments otherwise; points of a small network share passes, see `Together`. Memory: the path, one module, per-sample
    losses of the two ends, and what `Together` takes for a group. Threads: batches of a small network are computed side
    by side, by as many threads as a short trial finds fastest; no figure depends on how many
    (`connectivity_hooks.parallel`). Processes of a team measure a part of the t each, and all return the same.

    Args:
        path: The path.
        task: Model, data and loss.
        points: Size of the even grid on [0, 1], ends included.
        refine: Rounds of refinement around the worst point.
        correct: Name of a correction of the weights at each t, or one that is made; None leaves the path's own. One
            that is applied everywhere voids every guarantee, see `Correction`.
        correct_options: The correction's options by name.
        calibrate: Measure again with a temperature fitted at each t, see `calibrated`; a record keeps none of it.
        record: Remembers finished points.
        start: Scores at t = 0 by split, from the evaluation of another path from the same weights for the same task;
            filled in where it is empty. Not with a correction, which may change them.
        progress: Shows how far it is.

    Raises:
        InputError: The path does not fit the model, targets do not fit its outputs or the loss, or labels are those of
            a language model that moves them by one position itself.
        UsageError: Fewer than two points, a negative number of rounds, or an unknown correction or option.
    """
    if points < 2 or refine < 0:
        raise UsageError(f"evaluate: expected points ≥ 2 and refine ≥ 0, found {points} and {refine}")
    correction = make_correction(correct, correct_options)
    started = time.perf_counter()
    with Passes(path, task, correction) as passes:
        passes.require_faithful((path.start, path.end))
        task, readings, loss_dtype, unit = read_task(passes, task)
        if calibrate is not None:
            require_logits(task.loss, "calibrate")
        relied = _nothing(path) if passes.voided else reliance(path, task, passes)
        trusted = replace(path, guarantees=relied.guarantees)
        curve = _Curve(trusted, task, passes, record)
        with curve.sharing({} if start is None or correction is not None else start):
            measured = curve.measure(points, refine, progress)
        ts = sorted(measured)
        arc = arc_lengths(path, ts, _coordinates(passes, path))
        tempered = None if calibrate is None else calibrated_along(passes, task, ts, arc, calibrate, progress)
    curves = {split.name: tuple(measured[t][index] for t in ts) for index, split in enumerate(task.splits())}
    return Evaluation(
        path=path,
        task={**task.describe(), "unit": unit},
        correction=name_of(correction),
        correction_options=options_of(correction),
        curves=curves,
        barriers={name: barriers(curve, arc) for name, curve in curves.items()},
        length=float(arc[-1]),
        guarantees=relied.guarantees,
        deviations=relied.deviations,
        proof=prove(
            path,
            task.loss,
            untrue=relied.refuted,
            seen=_seen(trusted, curves),
            dtype=task.dtype,
            loss_dtype=loss_dtype,
            voided_by=correction.name if correction is not None and passes.voided else None,
        ),
        seconds=time.perf_counter() - started,
        guessing={split.name: guess(task.loss, split) for split in task.splits()},
        threads=passes.threads,
        notes=(*passes.notes, *readings),
        calibrated=tempered,
    )


def measure_part(
    path: Path, task: Task, how: Measuring, part: int, parts: int, *, record: Record | None, progress: Progress = SILENT
) -> None:
    """Measure one part of the even grid of `evaluate` into a record: every `parts`-th t, from the `part`-th on.

    All parts together are what `evaluate` measures before it refines, figure by figure; each costs two passes more, at
    both ends, which every measurement is compared with.

    Args:
        path: The path.
        task: Model, data and loss.
        how: Points of the whole grid, and the correction.
        part: Which part, from 1.
        parts: How many there are.
        record: Remembers them; None in the other processes of a team, which measure for the first.
        progress: Shows how far it is.

    Raises:
        InputError: See `evaluate`.
    """
    with Passes(path, task, how.correct) as passes:
        passes.require_faithful((path.start, path.end))
        task, *_ = read_task(passes, task)
        relied = _nothing(path) if passes.voided else reliance(path, task, passes)
        trusted = replace(path, guarantees=relied.guarantees)
        ts = list(dict.fromkeys(grid.even(trusted, how.points)))[part - 1 :: parts]
        _Curve(trusted, task, passes, record).visit(ts, progress)


def _nothing(path: Path) -> Reliance:
    """With weights corrected at each t, no segment keeps its function or its outputs' straight line."""
    return Reliance((MEASURED,) * len(path.guarantees), (), ())


def read_task(passes: Passes, task: Task) -> tuple[Task, list[str], torch.dtype, str | None]:
    """Check all targets against the outputs of a few samples.

    Returns:
        The task with a loss that reads all targets as it reads these, how that is, where there is more to say, the
        type that the loss comes back in, and the unit of both, see `unit_of`.
    """
    notes: dict[str, None] = {}
    unit = None
    for split in task.splits():
        few = telling(split)
        outputs, targets = next(iter(passes.under(0.0, few.batches(len(few)))))
        inputs = next(iter(few.batches(len(few))))[0]
        where = f"{task.data_name or 'data'}: {split.name}"
        loss, more = settle_loss(
            passes.model, task.loss, (inputs, targets), outputs, split.targets(), where, forward=task.forward
        )
        task = task.read_as(loss, task.notes)
        unit = unit or unit_of(loss, outputs, targets, split.targets())
        notes |= {new: None for new in more if not said_before(new, task.notes)}
    return task, list(notes), task.loss.measure(outputs, targets).sums.dtype, unit


def _seen(path: Path, curves: Mapping[str, Sequence[Measurement]]) -> list[Seen]:
    seen = []
    for split, curve in curves.items():
        losses = {point.t: point.loss for point in curve}
        for point in curve:
            ends = [] if point.blur is None else [losses[t] for t in path.interval(path.segment(point.t)[0])]
            where = f"at t = {point.t:.4g} on {split}"
            seen.append(Seen(where, point.loss, point.bend, point.blur, max(ends, default=math.inf)))
    return seen


class _Curve:
    """The measurements made so far, one list (a measurement for each split) for each t.

    The path has the guarantees that may be relied on, and no other.
    """

    def __init__(self, path: Path, task: Task, passes: Passes, record: Record | None) -> None:
        self._path = path
        self._task = task
        self._record = record
        self._passes, self._team = passes, current()
        anchors = Anchors(path)
        self._scorers = {split.name: Scorer(passes, anchors, task, split) for split in task.splits()}
        self._measured: dict[float, list[Measurement]] = {}
        self._each: float | None = None  # seconds that a point of a group takes

    @contextlib.contextmanager
    def sharing(self, start: dict[str, SampleScores]) -> Iterator[None]:
        """Use the scores at t = 0 that are there, and leave those that are measured in the block."""
        for name, scorer in self._scorers.items():
            scorer.starting_with(start.get(name))
        yield
        measured = {name: scorer.start for name, scorer in self._scorers.items()}
        start |= {name: scores for name, scores in measured.items() if scores is not None}

    def measure(self, points: int, refine: int, progress: Progress) -> dict[float, list[Measurement]]:
        ts = list(dict.fromkeys(grid.even(self._path, points)))
        self.visit(ts, progress)
        for _ in progress.track(range(refine), "refining around the worst point", refine):
            training = {t: measurements[0].loss for t, measurements in self._measured.items()}
            for _ in self._visited(grid.around_worst(self._path, training)):
                pass
        return self._measured

    def visit(self, ts: Sequence[float], progress: Progress) -> None:
        for _ in progress.track(self._visited(ts), "evaluating the path", len(ts)):
            pass

    def _visited(self, ts: Sequence[float]) -> Iterator[float]:
        """Measure some t, each process of a team a part of them; yield each t that is done."""
        known = self._record.known if self._record is not None else _unknown
        for t, found in divided(ts, known, self._measure_all, self._team):
            if self._record is not None and not known(t):
                self._record.add(found)
            self._measured[t] = found
            yield t

    def _measure_all(self, ts: Sequence[float]) -> Iterator[tuple[float, list[Measurement]]]:
        """Measure some t in order; those that need passes of their own are scored in groups, where that pays."""
        alone = [t for t in ts if all(scorer.alone(t) for scorer in self._scorers.values())]
        most = self._passes.group(alone)
        for t in ts:
            if most > 1 and alone and t == alone[0]:
                group = alone[: self._at_a_time(most)]
                started = time.monotonic()
                for scorer in self._scorers.values():
                    scorer.prepare(group)
                self._each = (time.monotonic() - started) / len(group)
                del alone[: len(group)]
            yield t, [self._measure(t, split) for split in self._task.splits()]

    def _at_a_time(self, most: int) -> int:
        """Return how many points are scored together: a run that is killed loses those that are not recorded yet."""
        return min(most, _FIRST if self._each is None else max(1, int(_LOST / max(self._each, 1e-9))))

    def _measure(self, t: float, split: Split) -> Measurement:
        ends = self._ends(split)
        scores, source = self._scorers[split.name](t)
        return summarise(t, split.name, scores, ends, source, self._task.loss.name)

    def _ends(self, split: Split) -> tuple[SampleScores, SampleScores]:
        """Return the per-sample scores at both ends, which every measurement is compared with."""
        scorer = self._scorers[split.name]
        return scorer(0.0)[0], scorer(1.0)[0]


def _unknown(t: float) -> None:
    """Know of no measurement."""


def _coordinates(passes: Passes, path: Path) -> set[str]:
    parameters = {name for name, _ in passes.model.named_parameters(remove_duplicate=True)}
    return parameters & path.start.keys()
