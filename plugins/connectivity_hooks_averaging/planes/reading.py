"""Reading what a landscape is made of: checkpoints and paths, fitted to the task's model."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectivity_hooks.checkpoints import fit, read, require_outlines
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import sampled
from connectivity_hooks.facts import other_model
from connectivity_hooks.model import Weights, assign
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task
from connectivity_hooks_averaging.planes.frame import Place
from connectivity_hooks_averaging.set import distinct_names

File = str | os.PathLike[str]

PATH_FILE = ".path.safetensors"

_POINTS = 25
"""Points of a path that are projected, evenly over t, beside its knots."""


@dataclass(frozen=True)
class Given:
    """A checkpoint, or a path, that was given.

    Attributes:
        name: Its file's stem, with more where stems are the same.
        file: Where it is read.
        sha256: Digest of the file's bytes.
        notes: What was done to fit it.
    """

    name: str
    file: pathlib.Path
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def is_path(self) -> bool:
        """Whether it is a path file."""
        return is_path(self.file)


def is_path(file: File) -> bool:
    """Say whether a file is a path by its name."""
    return os.fspath(file).endswith(PATH_FILE)


def names_of(files: Sequence[File]) -> list[str]:
    """Return a name for each file, no two alike."""
    names = distinct_names(files)
    short = [name.removesuffix(".path") for name in names]
    return short if len(set(short)) == len(short) else names


def require_fitting(files: Sequence[File], task: Task) -> None:
    """Refuse checkpoints that do not fit the model, all of them at once, before a tensor is read."""
    require_outlines([read(file) for file in files if not is_path(file)], task.structure())


def read_checkpoint(name: str, file: File, task: Task) -> tuple[Given, Weights]:
    """Read a checkpoint for a task, on its device and in its type.

    Raises:
        InputError: It does not fit the model, holds NaN or Inf, or cannot be read.
    """
    checkpoint = read(file)
    fitted = fit(checkpoint, task.structure(), finite=True)
    return Given(name, checkpoint.file, checkpoint.sha256, fitted.notes), in_type_of(task, fitted.weights)


def read_path(name: str, file: File, task: Task) -> tuple[Given, Path]:
    """Read a path for a task, on its device and in its type.

    Raises:
        InputError: Its points are not of the names and shapes of the model's, or it cannot be read.
    """
    path = Path.load(file)
    expected = {key: tuple(each.shape) for key, each in task.structure().state_dict().items()}
    found = {key: tuple(each.shape) for key, each in path.start.items()}
    if found != expected:
        key = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise InputError(
            f"{file}: does not fit the model: {key} is {found.get(key, 'missing')}, expected "
            f"{expected.get(key, 'no such tensor')}; give the model that the path was made for"
        )
    another = other_model(path, task.facts())
    if another is not None:
        raise InputError(f"{file}: {another}; give the model that the path was made for")
    return Given(name, pathlib.Path(file), read(file).sha256), path.to(task.device, task.dtype)


def in_type_of(task: Task, weights: Weights) -> Weights:
    """Return weights on the task's device, floating ones in its type."""
    return {
        key: each.to(task.device, task.dtype if each.is_floating_point() else None) for key, each in weights.items()
    }


def read_again(given: Given, task: Task) -> Weights:
    """Read the weights of a checkpoint again.

    Raises:
        InputError: The file has changed.
    """
    again, weights = read_checkpoint(given.name, given.file, task)
    if again.sha256 != given.sha256:
        raise InputError(f"{given.file}: changed while it was worked on; run again when its training is done")
    return weights


def writes(given: Given, task: Task) -> Place:
    """Return what writes a checkpoint's own weights; they are read when they are wanted."""
    return lambda into: assign(into, read_again(given, task))


def writes_at(path: Path, t: float) -> Place:
    """Return what writes the weights at t of a path."""
    return lambda into: assign(into, sampled(path, t))


def positions_of(path: Path) -> Iterator[float]:
    """Yield the t of a path that are projected, rising: an even grid and, where they are few, its knots."""
    knots = path.knots if len(path.knots) <= _POINTS else ()
    yield from sorted({*(i / (_POINTS - 1) for i in range(_POINTS)), *knots})
