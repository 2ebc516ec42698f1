"""A graph of checkpoints: the barrier between every two, or along a tree, and what is connected at a threshold."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from connectivity_hooks.connecting import Connecting
from connectivity_hooks.errors import InputError
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.shards import Shard
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.finished import FinishedPairs, MeasuredPair
from connectivity_hooks_averaging.graphs.components import components
from connectivity_hooks_averaging.graphs.tree import spanning_tree
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.pairs import Keeping, Numbers, all_pairs, known_pairs, measure_pairs, require_names
from connectivity_hooks_averaging.set import CheckpointSet
from connectivity_hooks_averaging.threshold import threshold_of

Edges = dict[Numbers, MeasuredPair]
"""What was measured, by the numbers of both checkpoints."""


@dataclass(frozen=True)
class Edging:
    """How a graph is made.

    Attributes:
        connecting: Builder, aligner and measuring.
        tree: Build only along the minimum spanning tree of the straight lines' barriers.
        keep_paths: Keep the path of every edge.
        threshold: The largest barrier that connects; None for `threshold_of`'s.
    """

    connecting: Connecting
    tree: bool = False
    keep_paths: bool = False
    threshold: float | None = None

    @property
    def lines(self) -> Connecting:
        """How the straight lines are measured that the tree is chosen by."""
        return Connecting(Line(), self.connecting.aligner, self.connecting.measuring)

    @property
    def is_of_lines(self) -> bool:
        """Whether the builder makes straight lines too, so that nothing is to be built along the tree."""
        return self.connecting.builder.role == "line"


@dataclass(frozen=True)
class Graph:
    """What is connected with what.

    Attributes:
        set: The checkpoints.
        edges: The paths that were measured: between every two, or along the tree.
        lines: Where edges lie along a tree: the straight line between every two, by which it was chosen.
        threshold: The largest barrier that connects.
        how: How edges were made.
        task: Model, data and loss.
    """

    set: CheckpointSet
    edges: Edges
    lines: Edges
    threshold: float
    how: Edging
    task: Task

    @property
    def connected(self) -> list[Numbers]:
        """The edges without a barrier above the threshold."""
        return [edge for edge, pair in self.edges.items() if pair.barrier <= self.threshold]

    @property
    def components(self) -> list[list[int]]:
        """The checkpoints that can be reached from one another, the largest component first."""
        return components(len(self.set.entries), self.connected)

    @property
    def losses(self) -> list[float]:
        """Training loss of each checkpoint."""
        return losses_of(len(self.set.entries), {**self.lines, **self.edges})


def losses_of(count: int, edges: Mapping[Numbers, MeasuredPair]) -> list[float]:
    """Return the training loss of each checkpoint, from whatever edge it is an end of."""
    losses = [float("nan")] * count
    for (a, b), pair in edges.items():
        losses[a], losses[b] = pair.losses
    return losses


def graph_of(given: CheckpointSet, task: Task, how: Edging, folder: pathlib.Path, progress: Progress = SILENT) -> Graph:
    """Measure all edges, but for those that an earlier run or a shard has left in `folder`.

    Time: a path for every two, or with a tree a straight line for every two and K - 1 paths. Memory: `measure_pairs`.

    Raises:
        InputError: There are fewer than two different checkpoints.
    """
    require_two(given)
    with FinishedPairs(folder, progress=progress) as finished:
        keeping = Keeping(folder, finished, how.keep_paths)
        pairs = all_pairs(len(given.entries))
        if not how.tree:
            edges = _measured(given, pairs, task, how.connecting, keeping, progress)
            lines = Edges()
        else:
            lines = _measured(
                given, pairs, task, how.lines, replace(keeping, paths=keeping.paths and not how.tree), progress
            )
            tree = tree_of(given, lines)
            edges = {edge: lines[edge] for edge in tree}
            if not how.is_of_lines:
                edges = _measured(given, tree, task, how.connecting, keeping, progress)
    losses = losses_of(len(given.entries), {**lines, **edges})
    return Graph(given, edges, lines, threshold_of(how.threshold, task, losses), how, task)


def share_of_graph(
    given: CheckpointSet, task: Task, how: Edging, folder: pathlib.Path, shard: Shard, progress: Progress = SILENT
) -> tuple[int, bool]:
    """Measure one shard's edges, beside other shards that measure theirs in the same folder.

    Along a tree nothing can be built before the straight line between every two is known: until then a shard measures
    its lines, and the same call again, when all have, builds its share of the tree.

    Returns:
        How many edges it has done, and whether there will be more for it once all lines are known.
    """
    require_two(given)
    name = f"{shard.number}-of-{shard.count}"
    with FinishedPairs(folder, name, progress) as finished:
        keeping, pairs = Keeping(folder, finished, how.keep_paths), all_pairs(len(given.entries))
        first = how.lines if how.tree else how.connecting
        own = _measured(
            given, shard.of(pairs), task, first, replace(keeping, paths=keeping.paths and not how.tree), progress
        )
        if not how.tree or how.is_of_lines:
            return len(own), False
    with FinishedPairs(folder, name, progress) as finished:  # what the others have done meanwhile
        keeping = Keeping(folder, finished, how.keep_paths)
        lines = known_pairs(given.entries, pairs, task, how.lines, keeping)
        if len(lines) < len(pairs):
            return len(own), True
        tree = shard.of(tree_of(given, lines))
        return len(own) + len(_measured(given, tree, task, how.connecting, keeping, progress)), False


def tree_of(given: CheckpointSet, lines: Edges) -> list[Numbers]:
    """Return the edges of the minimum spanning tree of the lines' barriers."""
    return spanning_tree(len(given.entries), {edge: pair.barrier for edge, pair in lines.items()})


def require_two(given: CheckpointSet) -> None:
    """Refuse a set of which no two are different, or of which the names make too long ones for files."""
    if len(given.given) < 2:
        raise InputError("graph: one checkpoint; expected two or more")
    if len(given.entries) < 2:
        names = ", ".join([given.entries[0].name, *given.equal])
        raise InputError(f"graph: {names} have the same weights; there is nothing between them")
    require_names(given.names)


def _measured(
    given: CheckpointSet,
    pairs: Sequence[Numbers],
    task: Task,
    connecting: Connecting,
    keeping: Keeping,
    progress: Progress,
) -> Edges:
    measured = measure_pairs(given.entries, pairs, task, connecting, keeping)
    return dict(progress.track(measured, f"{connecting.builder.name}: every two checkpoints", len(pairs)))
