"""What a watched training goes on from: timm's checkpoints have no room for it, so it lies beside them."""

from __future__ import annotations

import json
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.checkpoints import atomic_text
from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.untrusted import guarded, read_json
from connectivity_hooks.watching import counted_in

_NAME = "watch.json"


class EpochStates:
    """The states of a watch after each epoch, in ``watch.json``.

    Args:
        folder: Where the file is; None keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._file = None if folder is None or not is_main_process() else pathlib.Path(folder) / _NAME
        self._states: dict[str, Mapping[str, Any]] = {}

    def before(self, epoch: int) -> Mapping[str, Any] | None:
        """Return the state at the beginning of `epoch`, and forget those of later ones; None for a new training.

        timm takes up a recovery checkpoint at the next epoch; the state is then that of the last epoch that ended.

        Raises:
            InputError: The file is none of ours.
        """
        read = {} if self._file is None or epoch == 0 or not self._file.exists() else _read(self._file)
        self._states = {number: state for number, state in read.items() if int(number) <= epoch}
        return self._states[max(self._states, key=int)] if self._states else None

    def add(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the state at the beginning of `epoch`; what goes wrong is a warning, the training goes on."""
        if self._file is None:
            return
        self._states[str(epoch)] = state
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic_text(self._file, json.dumps(self._states) + "\n")
        except Exception as error:
            warnings.warn(
                f"watch: {one_line(error)}; a later run cannot go on from here; the training goes on", stacklevel=2
            )


def _read(file: pathlib.Path) -> dict[str, Mapping[str, Any]]:
    try:
        states = read_json(file, "the states of a watch")
        with guarded(file, "the states of a watch"):
            for state in states.values():
                counted_in(state)
            return {str(int(number)): dict(state) for number, state in states.items()}
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ")
        raise InputError(f"{file}: expected the states of a watch by epoch; it {reason}; remove it") from None
