"""The one way from a pair to its figures: align, build, verify the ends, keep, evaluate, and tell the plugins.

Whoever connects or evaluates comes through here (``connect``, ``star``, ``stability``, the demo, `ch.connect`,
`ch.evaluate`, `ch.stability_of`), so that plugins are told once of every path and of every evaluation, by the run that
made it; of several processes that work together, by the first. What an earlier run finished is not told again.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from connectivity_hooks.connecting.build import Built, build, still_connects
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair
from connectivity_hooks.connecting.work import Costs, PairWork
from connectivity_hooks.evaluation.evaluate import Record, evaluate
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measurement import SampleScores
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.paths.path import Path
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.team import current


def measured_pair(
    pair: Pair,
    task: Task,
    how: Connecting,
    work: PairWork | None = None,
    progress: Progress = SILENT,
    *,
    start: dict[str, SampleScores] | None = None,
) -> Evaluation:
    """Connect a pair and measure the path, going on from what an interrupted run left.

    Args:
        pair: The checkpoints.
        task: Model, data and loss.
        how: Builder, aligner and measuring.
        work: Where path and measurements are kept; `PairWork.finish` is the caller's, once its own output is safe.
        progress: Shows how far it is.
        start: Scores of the first checkpoint, for several pairs that have it in common, see `evaluation.evaluate`.

    Returns:
        The evaluation, with what the path cost; interrupted runs count.

    Raises:
        InputError: What the builder, the aligner or the evaluation cannot use.
        ConnectivityError: The builder or the aligner did not keep its promise, see `build`.
    """
    path, costs = connected_pair(pair, task, how, work)
    with work.journal() if work else contextlib.nullcontext() as journal:
        return measured_path(path, task, how.measuring, journal, costs=costs, start=start, progress=progress)


def connected_pair(pair: Pair, task: Task, how: Connecting, work: PairWork | None = None) -> Built:
    """Return a path between a pair, and what it cost, also where an interrupted run had built it."""
    team = current()
    found = team.share(lambda: _found(pair, task, work))
    if found is not None:
        return found
    built = build(pair, task, how.builder, how.aligner, work)
    if how.builder.together:
        built = team.share(lambda: built)  # of processors that round alike nothing changes
    if work:
        work.keep(*built)
    _tell("path_built", path=built.path, seconds=built.costs.seconds)
    return built


def _found(pair: Pair, task: Task, work: PairWork | None) -> Built | None:
    """Return the path that an interrupted run had built, and what it cost."""
    path = work.path() if work else None
    if work is None or path is None or not still_connects(path, pair, task):
        return None
    work.forget_states()  # a kill right after the path was kept left them
    return Built(path, work.costs())


def measured_path(
    path: Path,
    task: Task,
    how: Measuring,
    record: Record | None = None,
    *,
    costs: Costs | None = None,
    start: dict[str, SampleScores] | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate a path, and tell the plugins, unless all was measured before."""
    before = 0 if record is None else len(record)
    evaluation = evaluate(path, task, **vars(how), record=record, start=start, progress=progress)
    earlier = 0.0 if record is None else record.earlier
    costs = costs or Costs()
    evaluation = replace(evaluation, seconds=evaluation.seconds + earlier, build=costs.build, alignment=costs.alignment)
    found = record is not None and 0 < before == len(record)
    return evaluation if found else told(evaluation)


def told(evaluation: Evaluation) -> Evaluation:
    """Tell the plugins of an evaluation that is done, and return it."""
    _tell("path_evaluated", evaluation=evaluation)
    return evaluation


def _tell(hook: str, **news: object) -> None:
    if is_main_process():  # of several that connect one pair together
        registry().notify(hook, **news)
