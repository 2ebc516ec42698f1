"""Connecting two checkpoints: read, align if asked, build, and check what came back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from connectivity_hooks.checkpoints import Checkpoint
from connectivity_hooks.connecting.alignment import TOLERANCE, aligned, function_change
from connectivity_hooks.connecting.pair import File, Pair, load_pair
from connectivity_hooks.contracts.aligner import Aligner
from connectivity_hooks.contracts.builder import Builder
from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.model.weights import Weights, same
from connectivity_hooks.paths.path import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.task import Task


def build(pair: Pair, task: Task, builder: Builder, aligner: Aligner | None = None) -> Path:
    """Build a path between the pair's checkpoints and verify its ends.

    Raises:
        ConnectivityError: The aligner changed the function, or the builder's path does not start and end at the
            checkpoints bit for bit.
    """
    b, record = (pair.b, None) if aligner is None else aligned(aligner, pair.a, pair.b, task)
    path = builder.build(pair.a, b, task)
    for which, found, expected in (("start", path.start, pair.a), ("end", path.end, b)):
        difference = _difference(found, expected)
        if difference:
            raise ConnectivityError(f"builder {builder.name}: the {which} of its path {difference}")
    return replace(
        path,
        end_points=pair.end_points,
        alignment=record,
        builder=builder.name,
        options=built_with(builder, task),
    )


def still_connects(path: Path, pair: Pair, task: Task) -> bool:
    """Say whether a path from a file connects the pair's checkpoints, whatever it says of itself.

    Its ends must be theirs bit for bit; a second end that was aligned must be the same function (`function_change`).
    """
    if path.end_points != pair.end_points or _difference(path.start, pair.a):
        return False
    if path.alignment is None or path.end.keys() != pair.b.keys():
        return not _difference(path.end, pair.b)
    return function_change(pair.b, path.end, task) <= TOLERANCE


def built_with(builder: Builder, task: Task) -> dict[str, object]:
    """Return the options of a path's file: the builder's, its seed, and the augmentation where there is one."""
    return builder.used_options() | ({"augment": task.augment_name} if task.augment_name else {})


def connect(
    a: File | Checkpoint,
    b: File | Checkpoint,
    task: Task,
    *,
    builder: str = "linear",
    options: Mapping[str, object] | None = None,
    align: str | None = None,
    align_options: Mapping[str, object] | None = None,
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
        seed: Seed of every random choice.
        progress: Shows long work.

    Raises:
        InputError: The checkpoints cannot be used.
        UsageError: Unknown builder, aligner or option.
    """
    make = make_builder(builder, options, seed=seed, progress=progress)
    aligner = None if align is None else make_aligner(align, align_options, seed=seed, progress=progress)
    pair = load_pair(a, b, task)
    started = time.perf_counter()
    path = build(pair, task, make, aligner)
    registry().notify("path_built", path=path, seconds=time.perf_counter() - started)
    return path


def make_builder(name: str, options: Mapping[str, object] | None, *, seed: int, progress: Progress) -> Builder:
    """Make a builder by its name and options; raise `UsageError` where either is unknown."""
    kind = registry().builder(name)
    return kind(make_options(kind.Options, options or {}, name), seed=seed, progress=progress)


def make_aligner(name: str, options: Mapping[str, object] | None, *, seed: int, progress: Progress) -> Aligner:
    """Make an aligner likewise."""
    kind = registry().aligner(name)
    return kind(make_options(kind.Options, options or {}, name), seed=seed, progress=progress)


def _difference(found: Weights, expected: Weights) -> str:
    """Return in words how an end of a path differs from its checkpoint; nothing where it does not."""
    if found.keys() != expected.keys():
        return f"differs from the checkpoint in {', '.join(sorted(found.keys() ^ expected.keys()))}"
    for name, tensor in expected.items():
        if not same(found[name], tensor.to(found[name].device)):
            return f"changes {name}; a path keeps its ends"
    return ""
