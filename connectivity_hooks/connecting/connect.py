"""`ch.connect`: a path between two checkpoints, by the names of its builder and aligner."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from connectivity_hooks.checkpoints import Checkpoint
from connectivity_hooks.checkpoints.atomic import make_folder
from connectivity_hooks.connecting.measured import connected_pair
from connectivity_hooks.connecting.methods import Connecting, make_aligner, make_builder
from connectivity_hooks.connecting.pair import File, Pair, load_pair
from connectivity_hooks.connecting.subject import data_digest
from connectivity_hooks.connecting.work import PairWork, digest_of, of_path
from connectivity_hooks.paths.path import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks.task import Task


def connect(
    a: File | Checkpoint,
    b: File | Checkpoint,
    task: Task,
    *,
    builder: str = "linear",
    options: Mapping[str, object] | None = None,
    align: str | None = None,
    align_options: Mapping[str, object] | None = None,
    keep: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """Make a path between two checkpoints.

    Args:
        a: First checkpoint: a safetensors file, a sharded index, a folder that holds one, or one already read.
        b: Second checkpoint.
        task: Model, data and loss.
        builder: Name of the builder.
        options: The builder's options by name.
        align: Name of an aligner for the second checkpoint; None leaves it as it is.
        align_options: The aligner's options by name.
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
        UsageError: Unknown builder, aligner or option.
    """
    how = Connecting(
        make_builder(builder, options, seed=seed, progress=progress),
        make_aligner(align, align_options, seed=seed, progress=progress),
    )
    pair = load_pair(a, b, task)
    work = None if keep is None else _work(pathlib.Path(keep), pair, task, how, progress)
    return connected_pair(pair, task, how, work)[0]


def _work(folder: pathlib.Path, pair: Pair, task: Task, how: Connecting, progress: Progress) -> PairWork:
    """Return the place of this very work in a folder that others may share: its name tells it from theirs."""
    make_folder(folder)
    what = of_path(how.subject(pair, task, data_digest(task)))
    return PairWork(folder, f"{how.builder.name}.{digest_of(what)}", what, progress)
