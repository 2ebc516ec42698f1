"""The state of a method that works long, in a file of its own: small, written in one step, and of one work alone."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from connectivity_hooks.checkpoints import read, write_tensors
from connectivity_hooks.checkpoints.writing import gathered
from connectivity_hooks.contracts.work import State
from connectivity_hooks.cost import Cost, Meter
from connectivity_hooks.errors import ConnectivityError, InputError, one_line
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import Table, typed
from connectivity_hooks.untrusted import guarded, parse_json
from connectivity_hooks.version import __version__

FORMAT = "connectivity_hooks.work/1"

# Saving takes at most this share of the time since the work began, or began again.
_SHARE = 0.01
# What the first save is taken to cost: some MB on a slow disk. So the first comes after ten seconds of work.
_FIRST = 0.1


class StateFault(ConnectivityError):
    """A method saved what is no state; the message says what, and whoever knows the method names it."""


class StateFile:
    """A state on the disk, see `Work`; of another subject, or damaged (which is said), it is none.

    Of several processes every one reads and only the first writes, so the folder is one that all of them see. A DTensor
    is gathered, in which all of them take part.

    Args:
        file: The file.
        subject: Everything the work depends on, as JSON-ready values.
        progress: Says that a state is damaged, or cannot be written.
        meter: Measures the work. What it cost is kept with the state, and goes on with it.
    """

    def __init__(
        self,
        file: pathlib.Path,
        subject: Mapping[str, object],
        progress: Progress = SILENT,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter
        self._file = file
        self._subject = canonical(subject)
        self._progress = progress
        self._begun = time.monotonic()
        self._spent, self._last = 0.0, _FIRST

    def load(self) -> State | None:
        """Return the state that was saved last."""
        if not self._file.exists():
            return None
        try:
            return self._read()
        except InputError as fault:
            self._progress.say(f"{fault}; it is not used, the work begins anew")
            return None

    def due(self) -> bool:
        """Say whether another save keeps all of them within a hundredth of the time; in other processes, never."""
        spent = self._spent + self._last
        return is_main_process() and spent <= _SHARE * (time.monotonic() - self._begun)

    def save(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any] | None = None) -> None:
        """Write a state; where that fails it is said, and the work goes on.

        Raises:
            InputError: The note is not of JSON-ready values.
            StateFault: The tensors are no tensors by name, or the note is no mapping.
        """
        _require_state(tensors, note)
        started = time.monotonic()
        whole = {name: gathered(tensor.detach()) for name, tensor in tensors.items()}
        if is_main_process():
            self._write(whole, self._metadata(whole, note or {}))
        self._last = time.monotonic() - started
        self._spent += self._last

    def _metadata(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> dict[str, str]:
        with guarded(self._file, "what a state can be written to", "mend the method: a note is of JSON-ready values"):
            text = json.dumps(dict(note), allow_nan=False)
        # Tensors of a file have the order of their sizes and names; sums over them need the one they were given in.
        names = json.dumps(list(tensors))
        cost = json.dumps(dataclasses.asdict(self._meter.cost if self._meter else Cost(0.0)))
        about = {"format": FORMAT, "version": __version__, "subject": self._subject}
        return {**about, "note": text, "names": names, "cost": cost}

    def _write(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        try:
            write_tensors(self._file, tensors, metadata)
        except (OSError, InputError) as fault:
            self._progress.say(f"{self._file.name}: a state is not kept, the work goes on: {one_line(fault)}")

    def _read(self) -> State | None:
        checkpoint = read(self._file)
        metadata = checkpoint.metadata
        with guarded(self._file, "a state of unfinished work"):
            if metadata["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, found {metadata['format'][:60]}")
            if (metadata["subject"], metadata["version"]) != (self._subject, __version__):
                return None  # a newer method may keep something else
            names = typed(Sequence[str], parse_json(metadata["names"]), "names")
            if sorted(names) != sorted(checkpoint.outline):
                raise ValueError("its tensors are not those it names")
            note = typed(Table, parse_json(metadata["note"]), "note")
            cost = typed(Cost, parse_json(metadata["cost"]), "cost")
            if self._meter is not None:
                self._meter.earlier = cost
            return State({name: checkpoint.weights[name] for name in names}, note)


def _require_state(tensors: object, note: object) -> None:
    if not isinstance(tensors, Mapping):
        raise StateFault(f"work.save() was given a {type(tensors).__name__}, expected tensors by name")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            kinds = f"{type(tensor).__name__} under {name!r}"
            raise StateFault(f"work.save() was given a {kinds}, expected tensors by name; other values go in the note")
    if note is not None and not isinstance(note, Mapping):
        raise StateFault(f"work.save() was given a {type(note).__name__} as its note, expected values by name")


def canonical(subject: Mapping[str, object]) -> str:
    """Return a subject as text, by which two of them are compared."""
    return json.dumps(dict(subject), sort_keys=True)
