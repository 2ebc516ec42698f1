"""From what a user types to splits: find the form, scale, normalise, check, cache."""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.batches import ITS_OWN
from connectivity_hooks.model.inputs import shapes_of
from connectivity_hooks.progress import SILENT
from connectivity_hooks.tasks.batched import joined
from connectivity_hooks.tasks.data import arrays, callables, digits, folder
from connectivity_hooks.tasks.data.layout import (
    AUTO,
    FIRST,
    GRAY,
    LAST,
    LAYOUTS,
    Takes,
    arranged,
    check_layout,
    other,
    settled,
)
from connectivity_hooks.tasks.data.preparing import Prepared, Treatment, moves, parse_normalize, prepare, say_scaling
from connectivity_hooks.tasks.data.raw import RawData, Source
from connectivity_hooks.tasks.split import CachedSplit, Split, moved
from connectivity_hooks.tasks.streamed import StreamedSplit


@dataclass(frozen=True)
class Placement:
    """Where data goes: its device and floating type, and how many bytes of each split may be held in memory."""

    device: torch.device
    dtype: torch.dtype
    cache_limit: int


def load_data(
    data: object,
    placement: Placement,
    *,
    normalize: str | None = None,
    image_size: int | None = None,
    loss: str | None = None,
    layout: str = AUTO,
    takes: Takes | None = None,
    say: Callable[[str], object] = SILENT.say,
) -> tuple[Split, Split | None]:
    """Return the training split and, if there is one, the test split.

    Args:
        data: ``digits``, a ``.npz`` or ``.safetensors`` file, an image folder, or ``FILE.py:callable``; from code what
            such a callable returns, or itself.
        placement: Where they go.
        normalize: ``mean,std``, or the means and then the standard deviations of every channel; applied after uint8 was
            scaled to [0, 1].
        image_size: Size of a folder's images.
        loss: Name of the loss; it says whether integer targets are labels (see `prepare`).
        layout: Where the channels of a file's arrays are, see `layout.LAYOUTS`; what a loader gives is left alone
            unless another than ``auto`` is asked for.
        takes: Tries the model on some inputs, for ``auto``.
        say: Told in a line what was done to the values, where anything was.

    Raises:
        InputError: The data is malformed.
        UsageError: The form is unknown, or an option does not go with it.
    """
    check_layout(layout)
    numbers = parse_normalize(normalize)
    data = str(data) if isinstance(data, pathlib.PurePath) else data
    spec = name_of(data)
    raw = _raw(data, spec, placement.cache_limit, image_size)
    treatment = Treatment(numbers, loss, _layout(raw, spec, layout, takes, say))
    if layout in (LAST, GRAY) and not moves(raw.train, layout):
        say(f"{spec}: --layout {layout} does nothing to these inputs: {LAYOUTS[layout]}")
    if raw.its_own:
        say(note_of_own_targets(spec))
    if raw.own:
        say_scaling(raw.train, spec, treatment, say)
    train = _split("train", raw.train, spec, treatment, placement)
    test = None if raw.test is None else _split("test", raw.test, spec, treatment, placement)
    if isinstance(train, CachedSplit) and isinstance(test, CachedSplit):
        shapes = [shapes_of(split.inputs) for split in (train, test)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{spec}: training inputs have shape {shapes[0]}, test inputs {shapes[1]}; expected the same"
            )
    return train, test


def note_of_own_targets(spec: str) -> str:
    """Return what is said of data without targets."""
    return f"{spec}: {ITS_OWN}"


def _layout(raw: RawData, spec: str, layout: str, takes: Takes | None, say: Callable[[str], object]) -> str:
    """Return the layout that is meant, and say what it does where it does anything."""
    if not raw.stored or not isinstance(raw.train, tuple):
        return FIRST if layout == AUTO else layout
    stored = raw.train[0]
    if not isinstance(stored, Tensor):
        if layout in (LAST, GRAY):
            raise UsageError(f"--layout {layout} goes with one array of inputs; {spec} has several")
        return FIRST if layout == AUTO else layout
    chosen = settled(stored[:2], takes) if layout == AUTO else layout
    before, after = (tuple(each.shape[1:]) for each in (stored[:1], arranged(stored[:1], chosen)))
    if before != after:
        scaled = ", bytes scaled to [0, 1]" if stored.dtype == torch.uint8 else ""
        say(f"{spec}: inputs {before} are read as {after}{scaled}; --layout {FIRST} leaves their axes as stored")
    elif layout == AUTO and stored.ndim == 4 and other(stored, chosen) is not None:
        say(f"{spec}: inputs {before} are read as they are stored; --layout {other(stored, chosen)} says otherwise")
    return chosen


def name_of(data: object) -> str:
    """Return what data is called in a message."""
    return str(data) if isinstance(data, (str, pathlib.PurePath)) else "data"


def _raw(data: object, spec: str, cache_limit: int, image_size: int | None) -> RawData:
    own = not isinstance(data, str)
    path = pathlib.Path(spec)
    mode = 0 if own else _mode(path)
    if stat.S_ISDIR(mode):
        return folder.load(path, image_size)
    if image_size is not None:
        raise UsageError("--image-size goes with an image folder only")
    if own:
        return callables.of_objects(data, spec, cache_limit)
    if spec == "digits":
        return digits.load()
    if path.suffix in (".npz", ".safetensors"):
        return arrays.load(path)
    if ":" in spec:
        return callables.load(spec, cache_limit)
    if mode or "/" in spec:
        raise InputError(f"{spec}: expected digits, X.npz, X.safetensors, an image folder or FILE.py:callable")
    raise UsageError(
        f"unknown data {spec!r}; expected digits, X.npz, X.safetensors, an image folder or FILE.py:callable"
    )


def _mode(path: pathlib.Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # not there, or a name that no file can have
        return 0


def _split(name: str, raw: Source, spec: str, treatment: Treatment, placement: Placement) -> Split:
    where, batches = f"{spec}: {name}", [raw] if isinstance(raw, tuple) else raw
    if not isinstance(batches, list):
        return StreamedSplit(name, Prepared(batches, where, treatment), placement.device, placement.dtype)
    ready = (prepare(inputs, targets, where, treatment) for inputs, targets in batches)
    return joined(name, [moved(batch, placement.device, placement.dtype, name) for batch in ready])
