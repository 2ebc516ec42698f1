"""From what a user types to splits: find the form, scale, normalise, check, cache."""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.batches import ITS_OWN
from connectivity_hooks.model.inputs import shapes_of
from connectivity_hooks.progress import SILENT
from connectivity_hooks.tasks.batched import joined
from connectivity_hooks.tasks.data import arrays, callables, dataset_folder, dataset_tables, digits, folder, text
from connectivity_hooks.tasks.data.caps import capped, caps_of
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
from connectivity_hooks.tasks.data.left_out import LeftOut
from connectivity_hooks.tasks.data.preparing import Prepared, Treatment, moves, parse_normalize, prepare, say_scaling
from connectivity_hooks.tasks.data.raw import RawData, Source
from connectivity_hooks.tasks.data.spec import DataSpec, parse_data
from connectivity_hooks.tasks.split import CachedSplit, Split, moved
from connectivity_hooks.tasks.streamed import StreamedSplit

_FORMS = "digits, X.npz, X.safetensors, a folder of images or of datasets, X.txt?block=N, or FILE.py:callable"


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
    model: Callable[[], nn.Module] | None = None,
    tokenizers: Sequence[pathlib.Path] = (),
    say: Callable[[str], object] = SILENT.say,
) -> tuple[Split, Split | None]:
    """Return the training split and, if there is one, the test split.

    Args:
        data: ``digits``, a ``.npz`` or ``.safetensors`` file, a folder of images or of ``datasets``,
            ``TEXT.txt?block=N``, or ``FILE.py:callable``, each with caps; from code what such a callable returns, or
            itself.
        placement: Where they go.
        normalize: ``mean,std``, or the means and then the standard deviations of every channel; applied after uint8 was
            scaled to [0, 1].
        image_size: Size of a folder's images.
        loss: Name of the loss; it says whether integer targets are labels (see `prepare`).
        layout: Where the channels of a file's arrays are, see `layout.LAYOUTS`; what a loader gives is left alone
            unless another than ``auto`` is asked for.
        takes: Tries the model on some inputs, for ``auto``.
        model: Returns the model, whose forward says which named inputs it takes; the others are left out.
        tokenizers: Folders of the checkpoints, where the tokenizer that texts are read with is looked for.
        say: Told in a line what was done to the values, where anything was.

    Raises:
        InputError: The data is malformed.
        UsageError: The form is unknown, or an option does not go with it.
    """
    check_layout(layout)
    numbers = parse_normalize(normalize)
    data = str(data) if isinstance(data, pathlib.PurePath) else data
    spec = name_of(data)
    unused = LeftOut(spec, model, say)
    raw = _raw(data, spec, placement.cache_limit, image_size, tokenizers, unused, say)
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


def _raw(
    data: object,
    typed: str,
    cache_limit: int,
    image_size: int | None,
    tokenizers: Sequence[pathlib.Path],
    unused: LeftOut,
    say: Callable[[str], object],
) -> RawData:
    if not isinstance(data, str):
        _require_no_size(image_size)
        return callables.of_objects(data, typed, cache_limit, unused)
    spec = parse_data(typed)
    path = pathlib.Path(spec.body)
    mode = _mode(path)
    if stat.S_ISDIR(mode) and dataset_tables.is_one(path):
        return unused.from_columns(*dataset_folder.load(spec, image_size, tokenizers, unused, say))
    if stat.S_ISDIR(mode):
        spec.require_known()
        return _with_tests(folder.load(path, image_size, caps_of(spec, say)), spec)
    _require_no_size(image_size)
    if spec.body == "digits":
        spec.require_known()
        return capped(digits.load(), caps_of(spec, say))
    if path.suffix in (".npz", ".safetensors"):
        spec.require_known()
        return _with_tests(capped(unused.from_all(arrays.load(path)), caps_of(spec, say)), spec)
    if ":" in spec.body:
        return callables.load(spec, cache_limit, say, unused)
    if path.suffix in text.SUFFIXES or (stat.S_ISREG(mode) and "block" in spec.options):
        return unused.from_columns(text.load(spec, tokenizers, unused.most_tokens(), say), text.TOKENS)
    if mode or "/" in spec.body:
        raise InputError(f"{spec.body}: expected {_FORMS}")
    raise UsageError(f"unknown data {spec.body!r}; expected {_FORMS}")


def _require_no_size(image_size: int | None) -> None:
    if image_size is not None:
        raise UsageError("--image-size goes with an image folder only")


def _with_tests(raw: RawData, spec: DataSpec) -> RawData:
    """Refuse a number of test samples where there are none."""
    if raw.test is None and "test" in spec.options:
        raise UsageError(f"--data {spec.typed}: test is given, and there is no test split; leave it out")
    return raw


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
