"""`ch.connect`: a path between two checkpoints, by the names of its builder and aligner."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from connectivity_hooks.budget import Budget
from connectivity_hooks.checkpoints import Checkpoint
from connectivity_hooks.checkpoints.atomic import make_folder
from connectivity_hooks.connecting.attempts import Attempts, Way
from connectivity_hooks.connecting.best import Candidates, keep_best
from connectivity_hooks.connecting.measured import connected_pair
from connectivity_hooks.connecting.methods import Connecting, make, make_aligner, make_builder
from connectivity_hooks.connecting.pair import File, Pair, load_pair
from connectivity_hooks.connecting.subject import data_digest
from connectivity_hooks.connecting.work import PairWork, digest_of, of_path
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import ALL, BEST
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.errors import UsageError
from connectivity_hooks.paths.path import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks.task import Task

M = TypeVar("M", bound=Method)


def connect(
    a: File | Checkpoint,
    b: File | Checkpoint,
    task: Task,
    *,
    builder: str = "linear",
    options: Mapping[str, object] | None = None,
    align: str | None = None,
    align_options: Mapping[str, object] | None = None,
    budget: str | Budget | None = None,
    keep: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """Make a path between two checkpoints.

    Args:
        a: First checkpoint: a safetensors file, a sharded index, a folder that holds one, or one already read.
        b: Second checkpoint.
        task: Model, data and loss.
        builder: Name of the builder; ``best`` tries what there is, from the straight line on, and returns the best path
            of all (`connecting.best`): its ``options["best"]`` say what was tried and why this one is kept.
        options: The builder's options by name; not with ``best``.
        align: Name of an aligner for the second checkpoint; None leaves it as it is. ``best`` tries with and without.
        align_options: The aligner's options by name; with ``best`` only where `align` is named.
        budget: How long each method trains that does: ``2000steps``, ``3epochs`` or ``5m``. Options named ``budget``
            that are given go before it.
        keep: Folder where the path is kept and found again, and until it is done the state of a builder that works
            long: the same call, made again after a kill, goes on where it stopped, to the same path. Same are the
            checkpoints, the data (one pass tells), the options with the files they name, and your code: the files it is
            in, those of modules loaded from beside them, and the plain values it holds. Files that such code opens by
            itself, and modules from elsewhere, are not known of. One folder may serve any number of pairs and
            processes.
        seed: Seed of every random choice.
        progress: Shows long work.

    Raises:
        InputError: The checkpoints cannot be used, or `keep` cannot be written to.
        UsageError: Unknown builder, aligner or option, or a budget that is none.
    """
    budget = _typed(budget)
    if builder == ALL:
        raise UsageError(f"builder {ALL!r} is the command line's; call once for each builder, or say {BEST!r}")
    if builder == BEST:
        _refuse_unused(options, align, align_options)
        candidates = Candidates.installed(_Making(align, align_options, budget, seed, progress), align)
        pair = load_pair(a, b, task)
        place = None if keep is None else _place(pathlib.Path(keep), pair, task, progress)
        return keep_best(candidates, Attempts(pair, task, place, progress)).path
    how = Connecting(
        make_builder(builder, options, beside=[BEST], seed=seed, progress=progress, budget=budget),
        make_aligner(align, align_options, seed=seed, progress=progress, budget=budget),
    )
    pair = load_pair(a, b, task)
    work = None if keep is None else _place(pathlib.Path(keep), pair, task, progress)(Way(how.builder.name, how))
    return connected_pair(pair, task, how, work).path


@dataclass(frozen=True)
class _Making:
    """Makes methods that `best` chooses from."""

    align: str | None
    align_options: Mapping[str, object] | None
    budget: str | None
    seed: int
    progress: Progress

    def __call__(self, kind: type[M], /) -> M:
        named = issubclass(kind, Aligner) and kind.name == self.align
        options = self.align_options if named else None
        return make(kind, options, seed=self.seed, progress=self.progress, budget=self.budget)


def _typed(budget: object) -> str | None:
    """Return a budget as it can be typed; raise `UsageError` where it is none."""
    if budget is None or isinstance(budget, Budget):
        return None if budget is None else str(budget)
    Budget.parse(budget, "budget")
    return str(budget)


def _refuse_unused(
    options: Mapping[str, object] | None, align: str | None, align_options: Mapping[str, object] | None
) -> None:
    if options:
        raise UsageError("options of a builder are given, and best chooses among several; give a budget, or name one")
    if align_options and align is None:
        raise UsageError("align_options are given, and no aligner is named")


def _place(folder: pathlib.Path, pair: Pair, task: Task, progress: Progress) -> Callable[[Way], PairWork]:
    """Return what gives each way its place in a folder that others may share: its name tells it from theirs."""
    make_folder(folder)
    data = data_digest(task)

    def place(way: Way) -> PairWork:
        what = of_path(way.how.subject(pair, task, data))
        return PairWork(folder, f"{way.name}.{digest_of(what)}", what, progress)

    return place
