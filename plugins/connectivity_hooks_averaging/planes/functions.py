"""``ch.plane`` and ``ch.slice``: the loss on the plane through three checkpoints, and on slices around one."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectivity_hooks.checkpoints import make_folder
from connectivity_hooks.connecting import code_of, data_digest, method_of
from connectivity_hooks.contracts import Correction
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import Anywhere, Measuring, make_correction, tracked_norms
from connectivity_hooks.model import Weights
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Task, guess
from connectivity_hooks_averaging.arguments import number, require_file, require_files, whole
from connectivity_hooks_averaging.planes.directions import Slice, random_directions
from connectivity_hooks_averaging.planes.filters import filters_of
from connectivity_hooks_averaging.planes.frame import Frame, Place, coordinates_of, counters_of, require_mixable
from connectivity_hooks_averaging.planes.grid import LEAST_REACH, MOST, MOST_REACH, Grid, around, centred
from connectivity_hooks_averaging.planes.kept import FILE, Kept
from connectivity_hooks_averaging.planes.landscape import CHECKPOINT, CORNER, PATH, Landscape, Marked
from connectivity_hooks_averaging.planes.measuring import measured
from connectivity_hooks_averaging.planes.plane import Plane
from connectivity_hooks_averaging.planes.reading import (
    File,
    Given,
    is_path,
    names_of,
    positions_of,
    read_checkpoint,
    read_path,
    require_fitting,
    writes,
    writes_at,
)


@dataclass(frozen=True)
class _Projected:
    """A point beside the frame: what writes its own weights, and where its projection lies."""

    name: str
    sha256: str
    t: float | None
    at: tuple[float, ...]
    distance: float
    own: Place


def plane(
    checkpoints: Sequence[File],
    task: Task,
    *,
    project: Sequence[File] = (),
    points: int = 21,
    margin: float = 0.2,
    correct: str | Correction | None = None,
    correct_options: Mapping[str, object] | None = None,
    keep: File | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Landscape:
    """Measure loss and error on the plane through three checkpoints (Garipov et al. 2018).

    A path file in place of the three gives the plane through its start, its end and its middle: of a Bezier curve of
    three points, the plane that it lies in. What else is projected is measured as it is and beneath, on the plane.
    Time: a pass over the data for each of the points² places and a few more; places of a small network share passes.
    Memory: the three checkpoints, a model, what is projected of one checkpoint or path at a time and all of the paths,
    and the weights and scores of a group of places, see `Anywhere`.

    Args:
        checkpoints: Three files or folders, or one file ``*.path.safetensors``.
        task: Model, data and loss.
        project: Other checkpoints, and path files.
        points: Along each axis.
        margin: Around all that is drawn, as a share of the larger extent.
        correct: Name of a correction at each place, or one that is made: one that goes by the weights alone.
        correct_options: Its options by name.
        keep: Folder where finished places are kept and found again.
        seed: Seed of the correction.
        progress: Shows how far it is.

    Raises:
        InputError: Not three checkpoints; some are equal, lie on one line, or do not fit the model.
        UsageError: Arguments that cannot be, or a correction that needs a path.
    """
    require_files("plane: checkpoints", checkpoints)
    require_files("plane: project", project)
    points = whole("plane: points", points, 2, MOST)
    margin = number("plane: margin", margin, 0, 10)
    seed = whole("plane: seed", seed)
    correction = make_correction(correct, correct_options, seed=seed, progress=progress)
    _require_three(checkpoints)
    files = [*checkpoints, *project]
    require_fitting(files, task)
    names = names_of(files)
    if is_path(checkpoints[0]):
        frame, given = _plane_of_path(names[0], checkpoints[0], task)
        others = list(zip(names, files, strict=True))
    else:
        frame, given = _plane_through(names[:3], checkpoints, task)
        others = list(zip(names[3:], project, strict=True))
    projected, drawn, notes = list[_Projected](), dict[str, str](), list[str]()
    for name, file in progress.track(others, "projecting", len(others)):
        more, found = _projected(frame, name, file, task)
        if more.sha256 in drawn:
            notes.append(f"{name} is the same file as {drawn[more.sha256]}, byte for byte, and is drawn once")
            continue
        drawn[more.sha256] = name
        projected += found
        given += [] if more in given else [more]
    grid = around([*(each.at for each in frame.corners), *(each.at for each in projected)], margin, points)
    inside = tuple(frame.inside(*at) for at in grid.places())
    return _landscape("plane", frame, grid, projected, inside, task, correction, given, notes, keep, progress)


def slice_around(
    checkpoint: File,
    task: Task,
    *,
    directions: int = 2,
    reach: float = 1.0,
    points: int = 31,
    correct: str | Correction | None = None,
    correct_options: Mapping[str, object] | None = None,
    keep: File | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Landscape:
    """Measure loss and error along random directions around one checkpoint, filters normalised (Li et al. 2018).

    At a distance of 1 every filter has moved by as much as it is long: of what is stored, see `filters_of`, which under
    a parametrization is not the weight itself. See `random_directions` and `plane`.

    Args:
        checkpoint: A file or folder.
        task: Model, data and loss.
        directions: 1 for a line, 2 for a plane.
        reach: How far along each direction, to both sides, from 1e-6 to 1000.
        points: Along each direction.
        correct: See `plane`; so are `correct_options`, `keep` and `progress`.
        correct_options: Its options by name.
        keep: Folder where finished places are kept and found again.
        seed: Seed of the directions and of the correction.
        progress: Shows how far it is.

    Raises:
        InputError: The checkpoint does not fit the model, or has no filters.
        UsageError: Arguments that cannot be, or a correction that needs a path.
    """
    require_file("slice: checkpoint", checkpoint)
    directions = whole("slice: directions", directions, 1, 2)
    reach = number("slice: reach", reach, LEAST_REACH, MOST_REACH)
    points = whole("slice: points", points, 2, MOST)
    seed = whole("slice: seed", seed)
    correction = make_correction(correct, correct_options, seed=seed, progress=progress)
    if is_path(checkpoint):
        raise InputError(f"{checkpoint}: is a path; expected a checkpoint, such as `sample` writes of its middle")
    (name,) = names_of([checkpoint])
    given, weights = read_checkpoint(name, checkpoint, task)
    drawn = random_directions(task.structure(), weights, directions, seed)
    moving = {parameter: [each.axis, each.groups] for parameter, each in filters_of(task.structure()).items()}
    subject = {"slice": given.sha256, "directions": directions, "seed": seed, "filters": moving}
    frame = Slice(name, weights, drawn, subject)
    grid = centred(reach, points, directions)
    inside = (False,) * len(grid.places())
    return _landscape("slice", frame, grid, [], inside, task, correction, [given], [], keep, progress)


def _require_three(checkpoints: Sequence[File]) -> None:
    paths = [file for file in checkpoints if is_path(file)]
    if len(checkpoints) == 1 and paths:
        return
    if paths:
        raise InputError(f"{paths[0]}: is a path; expected three checkpoints, or one path by itself")
    if len(checkpoints) != 3:
        raise InputError(
            f"plane: {len(checkpoints)} checkpoint{'s' * (len(checkpoints) != 1)}; expected three, or one path file, "
            "whose middle is the third; `slice` draws the loss around one"
        )


def _plane_through(names: Sequence[str], files: Sequence[File], task: Task) -> tuple[Plane, list[Given]]:
    read = [read_checkpoint(name, file, task) for name, file in zip(names, files, strict=True)]
    given, weights = [each for each, _ in read], [each for _, each in read]
    counters = counters_of(task.structure())
    for name, each in zip(names[1:], weights[1:], strict=True):
        require_mixable((names[0], name), weights[0], each, counters)
    subject = {"plane": [each.sha256 for each in given]}
    return _plane(names, weights, task, subject), given


def _plane_of_path(name: str, file: File, task: Task) -> tuple[Plane, list[Given]]:
    given, path = read_path(name, file, task)
    if path.positions == (0.0, 1.0):
        raise InputError(f"{file}: is a straight line, and a line has no plane; give a third checkpoint")
    names = [f"{name} start", f"{name} end", f"{name} middle"]
    weights = [path(t) for t in (0.0, 1.0, 0.5)]
    return _plane(names, weights, task, {"plane of": given.sha256}), [given]


def _plane(names: Sequence[str], weights: Sequence[Weights], task: Task, subject: Mapping[str, object]) -> Plane:
    a, b, c = names
    first, second, third = weights
    return Plane((a, b, c), (first, second, third), coordinates_of(task.structure()), subject)


def _projected(frame: Plane, name: str, file: File, task: Task) -> tuple[Given, list[_Projected]]:
    if is_path(file):
        given, path = read_path(name, file, task)
        found = [
            _Projected(name, given.sha256, t, (x, y), off, writes_at(path, t))
            for t in positions_of(path)
            for x, y, off in [frame.project(path(t))]
        ]
        return given, found
    given, weights = read_checkpoint(name, file, task)
    x, y, off = frame.project(weights)
    return given, [_Projected(name, given.sha256, None, (x, y), off, writes(given, task))]


def _landscape(
    kind: str,
    frame: Frame,
    grid: Grid,
    projected: Sequence[_Projected],
    inside: tuple[bool, ...],
    task: Task,
    correction: Correction | None,
    given: Sequence[Given],
    said: Sequence[str],
    keep: File | None,
    progress: Progress,
) -> Landscape:
    places = {f"t {corner.t:g}": corner.t for corner in frame.corners}
    on_grid = {f"grid {number}": frame.place(*at) for number, at in enumerate(grid.places())}
    own = {f"of {each.sha256} {each.t}": each.own for each in projected}
    beneath = {f"beneath {each.sha256} {each.t}": frame.place(*each.at) for each in projected}
    with Anywhere(frame.path, task, correction) as anywhere, contextlib.ExitStack() as stack:
        kept = None
        if keep is not None and is_main_process():
            make_folder(pathlib.Path(keep))
            subject = {**frame.subject, "grid": grid.axes, **_subject(task, correction)}
            kept = stack.enter_context(Kept(pathlib.Path(keep) / FILE, subject, anywhere.task, progress))
        found = measured({**places, **own, **beneath, **on_grid}, anywhere, kept, progress)
        notes = anywhere.notes
    corners = [
        Marked(each.name, CORNER, None, each.at, 0.0, found[key], found[key])
        for key, each in zip(places, frame.corners, strict=True)
    ]
    others = [
        Marked(
            each.name, CHECKPOINT if each.t is None else PATH, each.t, each.at, each.distance, found[mine], found[below]
        )
        for each, mine, below in zip(projected, own, beneath, strict=True)
    ]
    describing = Measuring(correct=correction).describe()
    return Landscape(
        kind=kind,
        grid=grid,
        scores=tuple(found[key] for key in on_grid),
        points=(*corners, *others),
        inside=inside,
        labels=frame.labels,
        guessing={split.name: guess(task.loss, split) for split in task.splits()},
        mixes_statistics=correction is None and bool(tracked_norms(task.structure())),
        correction={key: describing[key] for key in ("correction", "correction_options")},
        about={**frame.subject, "files": {each.name: [each.file.name, each.sha256] for each in given}},
        task=task.describe(),
        notes=tuple(dict.fromkeys([*(note for each in given for note in each.notes), *said, *notes])),
    )


def _subject(task: Task, correction: Correction | None) -> dict[str, object]:
    return {
        "task": task.describe(),
        "code": code_of(task),
        "correction": method_of(correction),
        "data": data_digest(task),
    }
