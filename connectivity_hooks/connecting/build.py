"""Building a path between two checkpoints: align if asked, build, and check what came back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from connectivity_hooks.connecting.alignment import aligned, function_change
from connectivity_hooks.connecting.pair import Pair, SecondEnd
from connectivity_hooks.connecting.state_file import StateFault
from connectivity_hooks.connecting.work import ALIGNED, ALIGNER, BUILDER, Costs, PairWork
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.cost import Meter
from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import Weights, same
from connectivity_hooks.paths.path import Path
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.team import current


class Built(NamedTuple):
    """A path, and what it cost.

    Attributes:
        path: Verified at its ends.
        costs: Of the builder, and of the aligner, which may have worked for another builder of the same pair.
    """

    path: Path
    costs: Costs


def build(
    pair: Pair, task: Task, builder: Builder, aligner: Aligner | None = None, work: PairWork | None = None
) -> Built:
    """Build a path between the pair's checkpoints and verify its ends.

    Args:
        pair: The checkpoints.
        task: Model, data and loss.
        builder: Makes the path.
        aligner: Replaces the second checkpoint by an equal copy first, if any.
        work: Where both keep their state, and find that of an interrupted run.

    Raises:
        InputError: The aligner changed the function, the builder's path does not start and end at the checkpoints bit
            for bit, or either fails, or returned or saved something else than it should.
    """
    team = current()
    end = None if aligner is None else team.share(lambda: _second_end(pair, task, aligner, work))
    b = pair.b if end is None else end.weights
    with _working(builder, task, work, BUILDER) as meter:
        if builder.together:
            path = _called(builder, pair, b, task)
        else:
            path = team.share(lambda: _called(builder, pair, b, task))
    if not isinstance(path, Path):
        raise InputError(
            f"builder {builder.name}: build() returned a {type(path).__name__}, expected a connectivity_hooks.Path"
        )
    for which, found, expected in (("start", path.start, pair.a), ("end", path.end, b)):
        difference = _difference(found, expected)
        if difference:
            raise InputError(f"builder {builder.name}: the {which} of its path {difference}")
    whole = replace(
        path,
        end_points=pair.end_points,
        alignment=end and end.record,
        builder=builder.name,
        options=built_with(builder, task),
        remarks=dict(builder.remarks),
        facts=dict(task.facts()),
    )
    return Built(whole, Costs(meter.cost, end and end.cost))


def still_connects(path: Path, pair: Pair, task: Task) -> bool:
    """Say whether a path from a file connects the pair's checkpoints, whatever it says of itself.

    It must be of the same model, and its ends theirs bit for bit; a second end that was aligned must be the same
    function (`function_change`).
    """
    if path.end_points != pair.end_points or path.facts != task.facts() or _difference(path.start, pair.a):
        return False
    if path.alignment is None or path.end.keys() != pair.b.keys():
        return not _difference(path.end, pair.b)
    return function_change(pair.b, path.end, task).is_rounding


def built_with(builder: Builder, task: Task) -> dict[str, object]:
    """Return the options of a path's file: the builder's, its seed, and the augmentation where there is one."""
    return builder.used_options() | ({"augment": task.augment_name} if task.augment_name else {})


def _called(builder: Builder, pair: Pair, b: Weights, task: Task) -> Path:
    with guarded_call(f"builder {builder.name}"):
        return builder.build(pair.a, b, task)


def _second_end(pair: Pair, task: Task, aligner: Aligner, work: PairWork | None) -> SecondEnd:
    """Return the second checkpoint aligned; once for each pair, killed runs included."""
    if aligner not in pair.aligned:
        kept = _kept_end(pair, task, work) if work else None
        if kept is not None:
            pair.aligned[aligner] = kept
            return kept
        with _working(aligner, task, work, ALIGNER) as meter:
            weights, record = aligned(aligner, pair.a, pair.b, task)
        pair.aligned[aligner] = SecondEnd(weights, record, meter.cost)
    end = pair.aligned[aligner]
    if work:
        work.state(ALIGNED, Meter(task.device, earlier=end.cost)).save(end.weights, end.record)
    return end


def _kept_end(pair: Pair, task: Task, work: PairWork) -> SecondEnd | None:
    """Return what an interrupted run aligned, where it is the same function; the builder it was for may be long."""
    meter = Meter(task.device)
    kept = work.state(ALIGNED, meter).load()
    if kept is None or kept.tensors.keys() != pair.b.keys():
        return None
    weights = dict(kept.tensors)
    return (
        SecondEnd(weights, dict(kept.note), meter.cost) if function_change(pair.b, weights, task).is_rounding else None
    )


@contextlib.contextmanager
def _working(method: Method, task: Task, work: PairWork | None, part: str) -> Iterator[Meter]:
    """Measure what a method costs in the block, and let it keep its state, where there is a place for it."""
    try:
        with Meter(task.device) as meter, method.working(work.state(part, meter)) if work else contextlib.nullcontext():
            yield meter
    except StateFault as fault:
        raise InputError(f"{part} {method.name}: {fault}") from fault


def _difference(found: Weights, expected: Weights) -> str:
    """Return in words how an end of a path differs from its checkpoint; nothing where it does not."""
    if found.keys() != expected.keys():
        return f"differs from the checkpoint in {', '.join(sorted(found.keys() ^ expected.keys()))}"
    for name, tensor in expected.items():
        if not same(found[name], tensor.to(found[name].device)):
            return f"changes {name}; a path keeps its ends"
    return ""
