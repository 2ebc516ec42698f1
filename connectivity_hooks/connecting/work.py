"""What an interrupted run left of a pair, in whatever folder: its path, its measurements, unfinished states."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

from connectivity_hooks.checkpoints.atomic import atomic_text
from connectivity_hooks.connecting.state_file import StateFile, canonical
from connectivity_hooks.cost import Cost, Meter
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.evaluate import Record
from connectivity_hooks.evaluation.journal import Journal, subject_of
from connectivity_hooks.paths.path import Path
from connectivity_hooks.processes import is_main_process
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.records import typed
from connectivity_hooks.untrusted import guarded, read_json, require_utf8

PATH = ".path.safetensors"
UNFINISHED = ".unfinished"
# Of a path that is whole: what it is of, and what was measured along it. Where paths are kept for good, so is this.
MEASURED = ".measured"

# What a builder or an aligner saves of its own work, and the second checkpoint once it is aligned.
BUILDER, ALIGNER, ALIGNED = "builder", "aligner", "aligned"

# Every file system in use takes names of so many bytes, and no longer ones.
_LONGEST_NAME = 255
# A path that is only passed through is kept where building it took longer than writing it may take.
_QUICK = 1.0


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a path cost.

    Attributes:
        build: Of its builder; None where that is not known.
        alignment: Of its aligner; None where there is none.
    """

    build: Cost | None = None
    alignment: Cost | None = None

    @property
    def seconds(self) -> float:
        """Of both."""
        return sum(cost.seconds for cost in (self.build, self.alignment) if cost is not None)


class PairWork:
    """The work on one pair of checkpoints with one builder, of which a kill loses next to nothing.

    ``NAME.path.safetensors`` is the path, ``.NAME.measured.jsonl`` says what it is of and holds the measurements
    along it, ``.NAME.measured.cost.json`` what building it cost, ``.NAME.unfinished.builder.safetensors`` the state of
    a builder that is not done. All of them count only for the same subject. Pairs of other names share nothing, so that
    several processes may work in one folder.

    Args:
        folder: Where the files go.
        name: What they are called.
        subject: Everything that the path and what is measured along it depend on, see `connecting.subject`.
        progress: Says what an earlier run left that cannot be used.
        passing: The path itself is not wanted: it is kept only where building it took long, and removed in the end.

    Raises:
        InputError: The name is too long for a file, or is not UTF-8.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        name: str,
        subject: Mapping[str, object],
        progress: Progress = SILENT,
        *,
        passing: bool = False,
    ) -> None:
        hidden = f".{name}{UNFINISHED}"
        path_file(folder, name)
        self.file = folder / f"{hidden}{PATH}" if passing else path_file(folder, name)
        self._marker = folder / f".{name}{MEASURED}.jsonl"
        self._costs = folder / f".{name}{MEASURED}.cost.json"
        self._subject = dict(subject)
        self._progress = progress
        self._passing = passing
        self._states = {part: folder / f"{hidden}.{part}.safetensors" for part in (BUILDER, ALIGNER, ALIGNED)}

    def path(self) -> Path | None:
        """Return the path that an interrupted run of the same subject built; None where it is none, or damaged.

        How it will be measured is no part of what a path depends on.
        """
        found = subject_of(self._marker) if self._marker.exists() else None
        if not isinstance(found, dict) or canonical(of_path(found)) != canonical(of_path(self._subject)):
            return None
        path = path_at(self.file, self._progress)
        ends = [end.sha256 for end in path.end_points or ()] if path else []
        return path if ends == self._subject.get("ends", ends) else None

    def costs(self) -> Costs:
        """Return what the path that `path` returns cost; where that is not known any more, nothing is lost."""
        if not self._costs.exists():
            return Costs()
        try:
            content = read_json(self._costs, "the cost of a path", "it is not known any more")
            with guarded(self._costs, "the cost of a path", "it is not known any more"):
                known = content["of"] == digest_of(of_path(self._subject))
                found: Costs = typed(Costs, content["costs"])
                return found if known else Costs()
        except InputError as fault:
            self._progress.say(str(fault))
            return Costs()

    def keep(self, path: Path, costs: Costs) -> None:
        """Save a path and what it cost, and remember what of, until `finish`."""
        if not is_main_process():
            return
        self._marker.unlink(missing_ok=True)
        if not self._passing or costs.seconds > _QUICK or any(map(pathlib.Path.exists, self._states.values())):
            path.save(self.file)
        of = digest_of(of_path(self._subject))
        atomic_text(self._costs, json.dumps({"of": of, "costs": dataclasses.asdict(costs)}) + "\n")
        with Journal(self._marker, self._subject, self._progress):
            pass
        self.forget_states()

    def journal(self) -> contextlib.AbstractContextManager[Record | None]:
        """Open the journal of the measurements along the path."""
        if not is_main_process():
            return contextlib.nullcontext()
        return Journal(self._marker, self._subject, self._progress)

    def state(self, part: str, meter: Meter | None = None) -> StateFile:
        """Return where `BUILDER`, `ALIGNER` or `ALIGNED` keeps its state, and its cost; its clock starts now."""
        return StateFile(self._states[part], of_path(self._subject), self._progress, meter)

    def forget_states(self) -> None:
        """Remove the states of builder and aligner: the path they were for is there."""
        if is_main_process():
            for file in self._states.values():
                file.unlink(missing_ok=True)

    def finish(self) -> None:
        """Forget what was remembered for an interruption: the results are where they belong."""
        if not is_main_process():
            return
        self.forget_states()
        if self._passing:
            self.file.unlink(missing_ok=True)
        self._costs.unlink(missing_ok=True)
        self._marker.unlink(missing_ok=True)


def path_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Return where the path of a name goes.

    Raises:
        InputError: One of the files of that name would have too long a name, or one that is not UTF-8.
    """
    file = folder / f"{name}{PATH}"
    require_utf8(file)
    longest = f".{name}{UNFINISHED}.{BUILDER}.safetensors"
    if len(os.fsencode(longest)) > _LONGEST_NAME:
        raise InputError(f"{name}: its files would have names of more than {_LONGEST_NAME} bytes; rename it")
    return file


def path_at(file: pathlib.Path, progress: Progress = SILENT) -> Path | None:
    """Return the path that lies there already; None where there is none, or a damaged one, which is said."""
    if not file.exists():
        return None
    try:
        return Path.load(file)
    except InputError as fault:
        progress.say(f"{fault}; it is built again")
        return None


def digest_of(subject: Mapping[str, object]) -> str:
    """Return 16 letters that tell a subject from every other, for the name of a file."""
    return hashlib.sha256(canonical(subject).encode()).hexdigest()[:16]


def of_path(subject: Mapping[str, object]) -> dict[str, object]:
    """Return what of a subject the path itself depends on: not how it is measured."""
    return {name: value for name, value in subject.items() if name != "correction"}
