"""Scores of many points in one pass over the data, where that gives what one pass for each of them gives.

A pass over a small network's data costs little more than what lies around it: batches are copied, the loss is scored in
float64, threads hand over. All of it is done once for a group of points. Each batch is computed under the weights of
one point after the other, by the operations of a plain pass, so no figure changes in its last digit. On an accelerator,
where most of the time is spent on starting operations, it may be computed under all of them at once
(`model.stacked.at_once`); on a processor that was measured to save nothing (docs/benchmarks.md), and is not tried.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.measurement import SampleScores, score
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors, rows_of, taken
from connectivity_hooks.model.repeatable import near
from connectivity_hooks.model.stacked import at_once, bytes_of_row, in_turn, point_of, stacked
from connectivity_hooks.model.weights import Weights, weights_of
from connectivity_hooks.parallel import SideBySide, is_undivided
from connectivity_hooks.strangers import unlike_floats
from connectivity_hooks.structure.untouched import Attributes
from connectivity_hooks.tasks.loss import Loss, Terms, TermsOf
from connectivity_hooks.tasks.split import Split
from connectivity_hooks.tasks.task import Task

_MOST = 16
"""Points in a group: what is shared is a sixteenth of itself by then, and a run that is killed loses no more."""

_MOST_AT_ONCE = 64
"""Points computed at once: an accelerator that has to be kept busy takes many, and its passes are short."""

_BYTES = 1 << 28
"""256 MB: what a group's weights, its scores, and the outputs of a batch may take, each."""

_BYTES_AT_ONCE = 1 << 30
"""1 GB: what all values of a batch at all points may take on an accelerator; its memory is several times that, and
where less is left a group is computed again point by point."""

_SCORES = 4 * 8  # bytes for each sample: sums and weights of losses and errors, in float64 at most
_TIMES = 4  # outputs in float64 beside those in the model's type, their logarithms, and what these are made of
_TRIED = 2  # points whose outputs are compared
_CLOCKED = 8  # points computed at once for a trial by the clock: enough to see it, and little beside a path's
_ROUNDS = 3  # odd, for the median
_BETTER = 0.9  # as for threads: less is noise


class Way(Enum):
    """How a group of points is computed."""

    PLAIN = "a pass for each point"
    IN_TURN = "batch by batch, one point after the other"
    AT_ONCE = "batch by batch, all points at once"


class Together:
    """Scores points in groups, and one after the other where a group cannot be.

    A module is left to passes of its own where its operations are divided among threads (they are large, and little
    lies around them), where a pass leaves something in its attributes or writes into its inputs, or where outputs under
    weights handed to `torch.func.functional_call` are not those of the weights written into it, to the bit on a
    processor. All points at once is taken on an accelerator where outputs are the same within rounding and a batch is
    faster by the clock. All of it is tried once, at the first group. Memory: `_BYTES` for each of a group's weights,
    scores, and outputs of a batch (times the threads), and `_BYTES_AT_ONCE` for all values of a batch at once.

    Args:
        model: The module, in evaluation mode.
        task: Has the data.
        side_by_side: Runs the module.
        alone: Whether every point has passes of its own in any case.

    Attributes:
        way: How groups are computed; None before the first.
    """

    def __init__(self, model: nn.Module, task: Task, side_by_side: SideBySide, *, alone: bool = False) -> None:
        self._model, self._task, self._side_by_side = model, task, side_by_side
        self._processor = task.device.type == "cpu"
        self._attributes = Attributes(model)
        self._limit = _MOST
        self.way: Way | None = Way.PLAIN if alone else None

    def scores(self, points: Sequence[Callable[[], None]], split: Split, loss: Loss) -> Iterator[SampleScores]:
        """Yield the scores of every sample of a split at each point, in order.

        Args:
            points: Each writes a point's weights into the module.
            split: The split.
            loss: The loss.
        """
        size = self.group(points, split)
        for first in range(0, len(points), size):
            yield from self._group(points[first : first + size], split, loss)

    def group(self, points: Sequence[Callable[[], None]], split: Split) -> int:
        """Return how many of some points are computed together on a split; the first call tries."""
        if self.way is None and len(points) >= _TRIED:
            self.way = Way.PLAIN
            self.way = self._tried(points)
        if self.way in (None, Way.PLAIN):
            return 1
        return max(1, min(self._limit, int(_BYTES / (_SCORES * len(split)))))

    def _group(self, points: Sequence[Callable[[], None]], split: Split, loss: Loss) -> list[SampleScores]:
        if len(points) > 1 and self.way is not Way.PLAIN:
            try:
                return self._together([self._weights(point) for point in points], split, loss)
            except Exception:  # whatever it is, passes of their own say it better, or do without
                self.way = Way.PLAIN
        return [self._plain(point, split, loss) for point in points]

    def _plain(self, point: Callable[[], None], split: Split, loss: Loss) -> SampleScores:
        point()
        return score(self._side_by_side.outputs(split.batches(self._task.batch_size)), loss)

    def _weights(self, point: Callable[[], None]) -> Weights:
        point()
        return point_of(self._model)

    @torch.no_grad()
    def _together(self, points: Sequence[Weights], split: Split, loss: Loss) -> list[SampleScores]:
        run = partial(self._outputs, points, stacked(points) if self.way is Way.AT_ONCE else None)
        batches = split.batches(self._task.batch_size)
        if loss.rowwise:  # ours, which any thread may call
            parts = list(self._side_by_side.each(lambda model, batch: _terms(loss, run(model, batch)), batches))
        else:
            parts = [_terms(loss, found) for found in self._side_by_side.each(run, batches)]
        losses, errors = (
            _by_point([part for part in column if part is not None]) for column in zip(*parts, strict=True)
        )
        if not errors:
            return [SampleScores(each, None) for each in losses]
        return [SampleScores(*both) for both in zip(losses, errors, strict=True)]

    def _outputs(
        self, points: Sequence[Weights], weights: Weights | None, model: nn.Module, batch: tuple[Inputs, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (P, N, …) and targets (N, …) of one batch."""
        inputs, targets = batch
        versions, run = _versions(inputs), self._task.forward
        outputs = in_turn(model, points, inputs, run) if weights is None else at_once(model, weights, inputs, run)
        if _versions(inputs) != versions or unlike_floats(outputs) is not None:
            raise InputError("the module writes into its inputs, or returns no floats")  # passes of their own follow
        return outputs, targets

    @torch.no_grad()
    def _tried(self, points: Sequence[Callable[[], None]]) -> Way:
        try:
            with torch.random.fork_rng(devices=[]):
                return self._try(points)
        except Exception:  # a stranger's module may fail in any way under weights handed to it
            return Way.PLAIN
        finally:
            self._attributes.put_back()

    def _try(self, points: Sequence[Callable[[], None]]) -> Way:
        if self._processor and not is_undivided() and torch.get_num_threads() > 1:
            return Way.PLAIN
        if _fitting(_MOST, _bytes(weights_of(self._model))) < _TRIED:  # not even a trial copies them
            return Way.PLAIN
        batch = self._side_by_side.batch()
        if not self._same_in_turn(points[:_TRIED], batch):
            return Way.PLAIN
        if not self._processor and self._all_at_once(points[:_CLOCKED], batch):
            return Way.AT_ONCE
        return Way.IN_TURN if self._limit >= _TRIED else Way.PLAIN

    def _same_in_turn(self, points: Sequence[Callable[[], None]], batch: Inputs) -> bool:
        """Say whether weights handed to the module give what the written ones give, and leave nothing behind."""
        run, given = self._task.forward, mapped(torch.clone, batch)
        weights, written = [], []
        for point in points:
            weights.append(self._weights(point))
            written.append(run(self._model, mapped(torch.clone, batch)).clone())
            self._attributes.put_back()
        found = in_turn(self._model, weights, given, run)
        outputs = _TIMES * written[0].numel() * torch.float64.itemsize
        self._limit = _fitting(_MOST, _bytes(weights[0]), outputs)
        same = near(found, torch.stack(written), exact=self._processor)
        return same and _equal(given, batch) and self._attributes.are_as_they_were()

    def _all_at_once(self, points: Sequence[Callable[[], None]], batch: Inputs) -> bool:
        """Say whether computing all points at once is allowed, gives the same, and is faster; it sets the limit."""
        run, few = self._task.forward, mapped(torch.clone, taken(batch, slice(2)))
        weights = [self._weights(point) for point in points]
        values = rows_of(batch) * bytes_of_row(self._model, few, run)
        limit = min(_fitting(_MOST_AT_ONCE, _bytes(weights[0])), _BYTES_AT_ONCE // max(1, values))
        if limit < max(self._limit, _TRIED):  # of fewer points more is computed again and again
            return False
        try:
            tensors = stacked(weights)
            found, expected = at_once(self._model, tensors, batch, run), in_turn(self._model, weights, batch, run)
            if not near(found, expected, exact=False):
                return False
            turns = self._seconds(lambda: in_turn(self._model, weights, batch, run))
            faster = self._seconds(lambda: at_once(self._model, tensors, batch, run)) < _BETTER * turns
        except Exception:  # `vmap` refuses in as many ways as there are modules
            return False
        self._limit = limit if faster else self._limit
        return faster

    def _seconds(self, run: Callable[[], object]) -> float:
        """Return the median of a few runs, the device waited for."""
        found = []
        for _ in range(_ROUNDS):
            self._wait()
            started = time.perf_counter()
            run()
            self._wait()
            found.append(time.perf_counter() - started)
        return statistics.median(found)

    def _wait(self) -> None:
        if self._task.device.type == "cuda":
            torch.cuda.synchronize(self._task.device)


def _terms(loss: Loss, found: tuple[Tensor, Tensor]) -> tuple[Terms, Terms | None]:
    """Return terms (P, N) of losses and of errors from outputs (P, N, …) and targets (N, …)."""
    outputs, targets = found
    if not loss.rowwise:
        return _one_by_one(loss.measure, outputs, targets), loss.errors and _one_by_one(loss.errors, outputs, targets)
    rows, wanted = outputs.flatten(0, 1), targets.expand(len(outputs), *targets.shape).flatten(0, 1)
    losses = _shaped(loss.measure(rows, wanted), len(outputs))
    return losses, loss.errors and _shaped(loss.errors(rows, wanted), len(outputs))


def _one_by_one(terms: TermsOf, outputs: Tensor, targets: Tensor) -> Terms:
    each = [terms(one, targets) for one in outputs]
    return Terms(torch.stack([one.sums for one in each]), torch.stack([one.weights for one in each]))


def _shaped(terms: Terms, count: int) -> Terms:
    return Terms(terms.sums.unflatten(0, (count, -1)), terms.weights.unflatten(0, (count, -1)))


def _by_point(parts: Sequence[Terms]) -> list[Terms]:
    """Return terms (N,) of each point from terms (P, N) of batches."""
    if not parts:
        return []
    sums, weights = torch.cat([part.sums for part in parts], 1), torch.cat([part.weights for part in parts], 1)
    return [Terms(*both) for both in zip(sums, weights, strict=True)]


def _versions(inputs: Inputs) -> list[int]:
    return [tensor._version for _, tensor in named_tensors(inputs)]


def _bytes(weights: Weights) -> int:
    return sum(tensor.nbytes for tensor in weights.values())


def _fitting(most: int, *sizes: int) -> int:
    """Return of how many points all of some sizes in bytes fit."""
    return min(most, *(_BYTES // max(1, size) for size in sizes))


def _equal(some: Inputs, others: Inputs) -> bool:
    pairs = zip(named_tensors(some), named_tensors(others), strict=True)
    return all(torch.equal(one, other) for (_, one), (_, other) in pairs)
