"""A journal of finished measurements, so that a killed evaluation goes on from its last complete point."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from types import TracebackType

from connectivity_hooks.evaluation.measurement import Measurement

_FIELDS = [field.name for field in dataclasses.fields(Measurement)]


class Journal:
    """Appends measurements to a file of JSON lines; the first line says what they belong to.

    A file that belongs to something else, or has other fields, is started anew; a line that a crash cut short is
    dropped.

    Args:
        file: The journal's file.
        subject: Everything the measurements depend on, as JSON-ready values.
    """

    def __init__(self, file: pathlib.Path, subject: Mapping[str, object]) -> None:
        header = json.dumps({"fields": _FIELDS, "subject": dict(subject)}, sort_keys=True)
        lines = _complete_lines(file)
        self._known: dict[float, list[Measurement]] = {}
        if lines[:1] == [header]:
            self._known = {group[0].t: group for group in map(_parse, lines[1:])}
        else:
            lines = [header]
        self._file = file.open("w", encoding="utf-8")
        self._file.write("".join(line + "\n" for line in lines))
        self._file.flush()

    def __len__(self) -> int:
        """Return at how many t measurements are known."""
        return len(self._known)

    def known(self, t: float) -> list[Measurement] | None:
        """Return the measurements made at `t` before."""
        return self._known.get(t)

    def add(self, measurements: list[Measurement]) -> None:
        """Append the measurements of one t."""
        self._known[measurements[0].t] = measurements
        self._file.write(json.dumps([dataclasses.asdict(measurement) for measurement in measurements]) + "\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _complete_lines(file: pathlib.Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return text.splitlines()[: text.count("\n")]


def _parse(line: str) -> list[Measurement]:
    return [Measurement(**fields) for fields in json.loads(line)]
