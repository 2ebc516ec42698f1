"""Where things lie: a folder ``k_00000500`` for each step, in it ``start.safetensors`` and ``seed_1.safetensors``."""

from __future__ import annotations

import pathlib
import re

from connectivity_hooks.errors import InputError

START = "start.safetensors"
STATE = "start.state.pt"

STEP_KEY = "connectivity_hooks.step"
SEED_KEY = "connectivity_hooks.seed"
START_KEY = "connectivity_hooks.start"
STATE_KEY = "connectivity_hooks.state"

_STEP = re.compile(r"k_(\d+)")


def step_folder(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Return where the state of a step and its copies go."""
    return folder / f"k_{step:08d}"


def steps_in(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Return {k: its folder} in order of k.

    Raises:
        InputError: There is no such folder, it has none of any k, or two of one.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}; check the path") from None
    found: dict[int, pathlib.Path] = {}
    for entry in entries:
        named = _STEP.fullmatch(entry.name)
        if named and found.setdefault(int(named[1]), entry) != entry:
            raise InputError(f"{folder}: {found[int(named[1])].name} and {entry.name} are one k; keep one of them")
    if not found:
        raise InputError(f"{folder}: holds no folder k_00000000, k_00000500 …; save states there with ch.save_start")
    return dict(sorted(found.items()))


def copies_in(place: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return {name: checkpoint} of the copies in one k's folder: files, or folders that hold a checkpoint each."""
    try:
        there = sorted(place.iterdir())
    except OSError as error:
        raise InputError(f"{place}: cannot be read: {error.strerror}; check the path") from None
    entries = [entry for entry in there if entry.name != START and not entry.name.startswith(".")]
    return {
        entry.name.removesuffix(".safetensors"): entry
        for entry in entries
        if (entry.is_dir() and any(entry.glob("*.safetensors"))) or entry.suffix == ".safetensors"
    }
