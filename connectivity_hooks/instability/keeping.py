"""What was measured is kept, pair by pair, so that a second run computes only what the first did not."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.instability.inspection import Twin
from connectivity_hooks.instability.result import Connection

FORMAT = "connectivity_hooks.connection/1"


class Kept:
    """A folder with a file for every pair that is finished, and a journal of the one in work.

    Args:
        folder: The folder; made when missing.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def known(self, twin: Twin, subject: Mapping[str, object]) -> Connection | None:
        """Return what was measured between two copies, of the same subject; None if it was not."""
        try:
            content = json.loads(self._file(twin).read_text(encoding="utf-8"))
            if content["format"] == FORMAT and content["subject"] == json.loads(json.dumps(dict(subject))):
                return _connection(content["connection"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or of another version: it is measured again
        return None

    def add(self, twin: Twin, subject: Mapping[str, object], connection: Connection) -> None:
        """Keep what was measured, for good."""
        content = {"format": FORMAT, "subject": dict(subject), "connection": dataclasses.asdict(connection)}
        atomic_text(self._file(twin), json.dumps(content) + "\n")
        self._journal(twin).unlink(missing_ok=True)

    def journal(self, twin: Twin, subject: Mapping[str, object]) -> Journal:
        """Open the journal of the pair in work."""
        return Journal(self._journal(twin), subject)

    def _file(self, twin: Twin) -> pathlib.Path:
        return self._folder / f"k_{twin.step:08d}.{twin.names[0]}.{twin.names[1]}.json"

    def _journal(self, twin: Twin) -> pathlib.Path:
        return self._folder / f".{self._file(twin).name}l"


def _connection(fields: Mapping[str, Any]) -> Connection:
    curves = {split: tuple(Measurement(**point) for point in curve) for split, curve in fields["curves"].items()}
    barriers = {split: _barriers(figures) for split, figures in fields["barriers"].items()}
    return Connection(**{**fields, "curves": curves, "barriers": barriers})


def _barriers(figures: Mapping[str, Any]) -> Barriers:
    """Return barriers as they were before they became JSON, which knows no tuples."""
    with_tuples: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in figures.items()
    }
    return Barriers(**with_tuples)
