"""What one shard does: its items, one after the other; those that are done already are left alone."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable

from connectivity_hooks.connecting.build import Built, build
from connectivity_hooks.connecting.measured import connected_pair, measured_path
from connectivity_hooks.connecting.methods import Connecting
from connectivity_hooks.connecting.pair import Pair
from connectivity_hooks.evaluation.evaluate import measure_part
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.shards.items import Result, measurements_of, path_work, result_file
from connectivity_hooks.shards.shard import Shard
from connectivity_hooks.shards.worklist import Item, Way, WorkList, folder_of
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.team import current


def is_quick(how: Connecting) -> bool:
    """Say whether every shard may make the path itself: building costs nothing, and there is nothing to align."""
    return how.builder.role == "line" and how.aligner is None


def do_shard(
    shard: Shard,
    work: WorkList,
    out: pathlib.Path,
    task: Task,
    of_way: Callable[[str], tuple[Pair, Connecting]],
    progress: Progress = SILENT,
) -> list[Item]:
    """Do the items of one shard.

    Args:
        shard: Which one.
        work: The list of all items.
        out: The output folder, which all shards may share.
        task: Model, data and loss.
        of_way: Gives a way's checkpoints, and how they are connected and measured; asked for one at a time, so that no
            more than one pair need be in memory.
        progress: Shows how far it is.

    Returns:
        Its items, all of them done.
    """
    items = work.of(shard)
    for item in items:
        way = work.ways[item.way]
        result = result_file(folder_of(out), item, way)
        if not current().share(result.exists):
            _do(item, way, folder_of(out), task, *of_way(item.way), progress)
    return items


def _do(
    item: Item, way: Way, folder: pathlib.Path, task: Task, pair: Pair, how: Connecting, progress: Progress
) -> None:
    path, costs = _path(item, way, folder, task, pair, how, progress)
    subject, writes = measurements_of(way, path), is_main_process()  # of several processes that do one shard together
    with Result(result_file(folder, item, way), subject, progress) if writes else contextlib.nullcontext() as journal:
        if item.parts == 1:
            measured_path(path, task, how.measuring, journal, costs=costs, progress=progress)
        else:
            measure_part(path, task, how.measuring, item.part, item.parts, record=journal, progress=progress)


def _path(
    item: Item, way: Way, folder: pathlib.Path, task: Task, pair: Pair, how: Connecting, progress: Progress
) -> Built:
    """Return the path; of a way that is divided the first part writes it down, for all."""
    if item.part == 1:
        return connected_pair(pair, task, how, path_work(folder, item.way, way, progress))
    return build(pair, task, how.builder, how.aligner)
