"""What was measured is kept, pair by pair, so that a second run computes only what the first did not."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from connectivity_hooks.checkpoints.atomic import atomic_text, make_folder
from connectivity_hooks.connecting.state_file import canonical
from connectivity_hooks.connecting.work import PairWork
from connectivity_hooks.errors import InputError
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import typed
from connectivity_hooks.stability.inspection import Twin
from connectivity_hooks.stability.result import Connection
from connectivity_hooks.untrusted import guarded, read_json

FORMAT = "connectivity_hooks.connection/1"


class FinishedPairs:
    """A folder with a file for every pair that is finished, and what is known of the one in work.

    Args:
        folder: The folder; made when missing.
        progress: Says which pair is measured again because its file is damaged.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, folder: pathlib.Path, progress: Progress = SILENT) -> None:
        self._folder = folder
        self._progress = progress
        make_folder(folder)

    def known(self, twin: Twin, subject: Mapping[str, object]) -> Connection | None:
        """Return what was measured between two copies, of the same subject; None if it was not."""
        file = self._file(twin)
        if not file.exists():
            return None
        try:
            content = read_json(file, "a measured pair", "it is measured again")
            with guarded(file, "a measured pair", "it is measured again"):
                # Of another version or subject: nothing to speak of.
                if content["format"] != FORMAT or canonical(content["subject"]) != canonical(subject):
                    return None
                return _belonging(typed(Connection, content["connection"]), twin)
        except InputError as fault:
            self._progress.say(str(fault))
            return None

    def add(self, twin: Twin, subject: Mapping[str, object], connection: Connection) -> None:
        """Keep what was measured, for good."""
        content = {"format": FORMAT, "subject": dict(subject), "connection": dataclasses.asdict(connection)}
        atomic_text(self._file(twin), json.dumps(content) + "\n")

    def work(self, twin: Twin, subject: Mapping[str, object]) -> PairWork:
        """Return where the pair in work is kept until it is finished."""
        return PairWork(self._folder, _name(twin), subject, self._progress, passing=True)

    def _file(self, twin: Twin) -> pathlib.Path:
        return self._folder / f"{_name(twin)}.json"


def _name(twin: Twin) -> str:
    return f"k_{twin.step:08d}.{twin.names[0]}.{twin.names[1]}"


def _belonging(connection: Connection, twin: Twin) -> Connection:
    if (connection.step, connection.a, connection.b) != (twin.step, *twin.names):
        raise ValueError(f"it is of k = {connection.step}: {connection.a} and {connection.b}")
    if not connection.curves or connection.curves.keys() != connection.barriers.keys():
        raise ValueError("its curves and barriers are of different splits")
    if not all(connection.curves.values()):
        raise ValueError("a curve has no points")
    return connection
