"""`ch.average`: the mean of those checkpoints that are connected, and what was left out and why."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch

from connectivity_hooks.checkpoints import fit, make_folder, read
from connectivity_hooks.connecting import Connecting
from connectivity_hooks.contracts import Method, make_options
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.evaluation import Measuring, tracked_norms
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.arguments import above_zero, require_files
from connectivity_hooks_averaging.finished import FinishedPairs
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.pairs import Keeping, all_pairs, measure_pairs, require_names
from connectivity_hooks_averaging.scores import Scores, scores_of
from connectivity_hooks_averaging.set import CheckpointSet, read_set, weights_of_entry
from connectivity_hooks_averaging.soups.choice import Candidates, Choice, Matrix, greedy, uniform
from connectivity_hooks_averaging.soups.frames import Framed, in_first_frame
from connectivity_hooks_averaging.soups.how import GREEDY, HOLD_OUT, UNIFORM, Averaging
from connectivity_hooks_averaging.soups.result import Average, Near
from connectivity_hooks_averaging.soups.running import Running
from connectivity_hooks_averaging.soups.soup import Soup, counters_of, products_of
from connectivity_hooks_averaging.threshold import threshold_of

M = TypeVar("M", bound=Method)

NEAR = 1e-4
"""Share of the weights' size up to which it is said that two checkpoints are as good as one: rounding of an aligner."""

File = str | os.PathLike[str]


def average(
    checkpoints: Sequence[File],
    task: Task,
    *,
    method: str = UNIFORM,
    weights: Sequence[float] | None = None,
    align: str | None = None,
    align_options: Mapping[str, object] | None = None,
    correct: str | None = None,
    correct_options: Mapping[str, object] | None = None,
    threshold: float | None = None,
    points: int = 25,
    refine: int = 4,
    hold_out: float | None = None,
    keep: File | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Average:
    """Average those of some checkpoints that are connected by straight lines of low loss.

    The barrier of every pair is measured on the training split, and of the line from the running mean to each that is
    taken in (Entezari et al. 2022: the largest excess over the straight line between both ends' losses). Averaged is
    the largest set found in which none of these is above the threshold. The test split chooses nothing; it is scored in
    the end. Time: (points + 2·refine) passes over the training split for each pair and member. Memory: three models,
    what `evaluate` takes, and a running mean in float64.

    Args:
        checkpoints: Files or folders, two or more.
        task: Model, data and loss.
        method: ``uniform``, the mean of the largest connected set; or ``greedy``, the mean of those that make it no
            worse on training samples held out, best first (Wortsman et al. 2022, arXiv 2203.05482, recipe 1).
        weights: One for each checkpoint, for a weighted mean.
        align: Name of an aligner that brings all others into the frame of the first.
        align_options: Its options by name.
        correct: Name of a correction at each t of the lines, and of the mean.
        correct_options: Its options by name.
        threshold: The largest barrier that connects, a difference of losses; see `threshold_of` for the default.
        points: See `evaluate`; so is `refine`.
        refine: Rounds of refinement.
        hold_out: Share of the training samples that ``greedy`` chooses by, 0.1 if None.
        keep: Folder where finished pairs are kept and found again.
        seed: Seed of every random choice.
        progress: Shows how far it is.

    Raises:
        InputError: Some cannot be read or do not fit the model, are all equal, or hold integers that differ.
        UsageError: Arguments that cannot be, or an unknown name.
    """
    require_files("checkpoints", checkpoints)
    known = registry()
    aligner = None if align is None else _made(known.aligner(align), align_options, seed)
    correction = None if correct is None else _made(known.correction(correct), correct_options, seed)
    how = Averaging(
        method,
        None if weights is None else above_zero("weights", weights),
        aligner,
        Measuring(points, refine, correction),
        threshold,
        hold_out,
        seed,
    )
    return averaged(checkpoints, task, how, None if keep is None else pathlib.Path(keep), progress)


def _made(kind: type[M], options: Mapping[str, object] | None, seed: int) -> M:
    return kind(make_options(kind.Options, options or {}, kind.name), seed=seed)


def averaged(
    checkpoints: Sequence[File],
    task: Task,
    how: Averaging,
    keep: pathlib.Path | None = None,
    progress: Progress = SILENT,
) -> Average:
    """Do what `average` does, with methods that are made."""
    if how.weights is not None and len(how.weights) != len(checkpoints):
        raise UsageError(f"{len(how.weights)} weights are given for {len(checkpoints)} checkpoints; give one for each")
    given = _distinct(read_set(checkpoints, task, progress))
    require_names(given.names)
    with _place(keep) as folder:
        framed = in_first_frame(given, task, how.aligner, folder, progress)
        _distinct(framed.set, ", once they are aligned")
        result = _averaged(framed, task, how, folder, progress)
        for work in framed.works:
            work.finish()
    return result


def _distinct(given: CheckpointSet, when: str = "") -> CheckpointSet:
    if len(given.given) < 2:
        raise InputError("average: one checkpoint; expected two or more")
    if len(given.entries) < 2:
        names = [given.entries[0].name, *given.equal]
        raise InputError(f"average: {', '.join(names)} have the same weights{when}; there is nothing to average")
    return given


@contextlib.contextmanager
def _place(keep: pathlib.Path | None) -> Iterator[pathlib.Path]:
    if keep is not None:
        make_folder(keep)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="connectivity_hooks.") as folder:
        yield pathlib.Path(folder)


def _averaged(framed: Framed, task: Task, how: Averaging, folder: pathlib.Path, progress: Progress) -> Average:
    given, training = framed.set, task.on(task.train, None, task.notes)
    barriers, losses, lengths = _barriers(framed.set, training, how, folder, progress)
    threshold = threshold_of(how.threshold, task, losses)
    counters, products = counters_of(task.structure()), products_of(task.structure())
    if products and how.measuring.correct is not None:
        raise UsageError("correct: a correction works on lines between weights, and adapters are averaged by products")

    def weights(number: int) -> Weights:
        return weights_of_entry(given.entries[number], task, given.dtype)

    def begin(number: int) -> Running:
        name, share = given.names[number], shares[number]
        return Running.of(name, weights(number), share, Soup(counters, products), training, how.measuring.correct)

    shares = _shares(given, how)
    candidates = Candidates(given.names, weights, shares, barriers, threshold, begin, training, how.measuring, progress)
    held_out = _held_out(task, how)
    if held_out is None:
        choice, held = uniform(candidates), None
    else:
        readers = [partial(weights, number) for number in range(len(shares))]
        own = [each["train"].loss for each in scores_of(readers, held_out, how.measuring.correct)]
        choice, held = greedy(candidates, held_out, own), dict(zip(given.names, own, strict=True))
    near = _near(given.names, lengths, weights(0)) if how.aligner else ()
    return _result(framed, task, how, choice, candidates, held_out, held, near)


def _near(names: Sequence[str], lengths: Matrix, first: Weights) -> tuple[Near, ...]:
    """Return every two that are nearly the same, and their distance as a share of the first one's size."""
    size = math.sqrt(sum(float(each.double().square().sum()) for each in _finite(first)))
    pairs = [(a, b, lengths[a][b] / size) for a, b in all_pairs(len(names))] if size > 0 else []
    return tuple(Near(names[a], names[b], share) for a, b, share in pairs if share <= NEAR)


def _finite(weights: Weights) -> list[torch.Tensor]:
    floating = [tensor for tensor in weights.values() if tensor.is_floating_point()]
    return [tensor for tensor in floating if torch.isfinite(tensor).all()]


def _barriers(
    given: CheckpointSet, task: Task, how: Averaging, folder: pathlib.Path, progress: Progress
) -> tuple[Matrix, list[float], Matrix]:
    """Return the barrier of every two, the loss of each, and the distance of every two."""
    count = len(given.entries)
    barriers, lengths = ([[0.0] * count for _ in range(count)] for _ in range(2))
    losses = [0.0] * count
    connecting, pairs = Connecting(Line(), measuring=how.measuring), all_pairs(count)
    with FinishedPairs(folder, progress=progress) as finished:
        keeping = Keeping(folder, finished)
        measured = measure_pairs(given.entries, pairs, task, connecting, keeping)
        for (a, b), pair in progress.track(measured, "measuring lines", len(pairs)):
            barriers[a][b] = barriers[b][a] = pair.barrier
            lengths[a][b] = lengths[b][a] = pair.length
            losses[a], losses[b] = pair.losses
    return barriers, losses, lengths


def _shares(given: CheckpointSet, how: Averaging) -> list[float]:
    """Return the weight of each distinct checkpoint: of equal ones the sum of those given for each, or 1 for all."""
    if how.weights is None:
        return [1.0] * len(given.entries)
    shares = [0.0] * len(given.entries)
    for entry, weight in zip(given.given, how.weights, strict=True):
        shares[entry] += weight
    return shares


def _held_out(task: Task, how: Averaging) -> Task | None:
    if how.method != GREEDY:
        return None
    count = max(1, round((HOLD_OUT if how.hold_out is None else how.hold_out) * len(task.train)))
    return task.on(task.train.sample(count, how.seed), None, task.notes)


def _result(
    framed: Framed,
    task: Task,
    how: Averaging,
    choice: Choice,
    candidates: Candidates,
    held_out: Task | None,
    held: dict[str, float] | None,
    near: tuple[Near, ...],
) -> Average:
    given, first = framed.set, read(framed.set.entries[0].file)
    stored = _stored_types(framed, task)
    mean = {key: tensor.to(stored[key]) for key, tensor in choice.running.weights.items()}
    overflows = [key for key, wide in choice.running.weights.items() if not torch.equal(*_infinite(wide, mean[key]))]
    scored = choice.running.weights if overflows else mean
    readers = [partial(candidates.weights, number) for number in range(len(given.entries))]
    scores = [
        *scores_of([lambda: _wide(scored, given.dtype)], task),  # corrected already
        *scores_of(readers, task, how.measuring.correct),
    ]
    soup_held = None
    if held_out is not None:
        soup_held = scores_of([lambda: _wide(scored, given.dtype)], held_out)[0]["train"].loss
    return Average(
        weights=mean,
        names=tuple(given.names),
        members=choice.members,
        left_out=tuple(choice.left_out),
        equal=given.equal,
        near=near,
        barriers=candidates.barriers,
        threshold=candidates.threshold,
        joinings=tuple(choice.joinings),
        scores=_named(given, scores[1:]),
        soup_scores=scores[0],
        held_out=held,
        soup_held_out=soup_held,
        shares=dict(zip(given.names, candidates.shares, strict=True)),
        records=framed.records,
        has_batch_norm=bool(tracked_norms(task.structure())),
        kept_counters=tuple(sorted(choice.running.soup.kept_counters)),
        product_errors=choice.running.soup.product_errors,
        overflows=tuple(overflows),
        method=how.method,
        measuring=how.measuring.describe(),
        aligner=how.aligner.name if how.aligner else None,
        task=task,
        like=first,
        files={entry.name: (entry.file.name, entry.sha256) for entry in given.entries},
        notes=given.notes,
    )


def _infinite(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return where each is no finite number."""
    return [~torch.isfinite(tensor) for tensor in tensors]


def _named(given: CheckpointSet, scores: Sequence[Scores]) -> dict[str, Scores]:
    return dict(zip(given.names, scores, strict=True))


def _stored_types(framed: Framed, task: Task) -> dict[str, torch.dtype]:
    """Return the types of the first checkpoint's tensors, by the names of the model."""
    entry = framed.set.entries[0]
    return {key: tensor.dtype for key, tensor in fit(read(entry.file), task.structure()).weights.items()}


def _wide(weights: Weights, dtype: torch.dtype) -> Weights:
    return {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
