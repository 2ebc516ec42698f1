"""The result files of a shard: a journal for each item, under its own name once the item is done."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from connectivity_hooks.connecting.path_digest import path_digest
from connectivity_hooks.connecting.work import PairWork, digest_of, of_path
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.paths.path import Path
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.shards.worklist import Item, Way

SUFFIX = ".jsonl"
_MERGED = f".merged{SUFFIX}"


def stem(name: str, way: Way) -> str:
    """Return what the files of a way are called: by its name, and a digest of all that it depends on."""
    return f"{name}.{digest_of(of_path(way.subject))}"


def path_work(folder: pathlib.Path, name: str, way: Way, progress: Progress = SILENT) -> PairWork:
    """Return where the path of a way is kept, with the state of a builder that was killed."""
    return PairWork(folder, stem(name, way), way.subject, progress)


def result_file(folder: pathlib.Path, item: Item, way: Way) -> pathlib.Path:
    """Return the result file of an item, which is there once the item is done."""
    return folder / f"{stem(item.way, way)}.{item.part}-of-{item.parts}{SUFFIX}"


def merged_file(folder: pathlib.Path, name: str, way: Way) -> pathlib.Path:
    """Return where a merge keeps all measurements of a way, and those it made itself."""
    return folder / f"{stem(name, way)}{_MERGED}"


def is_merged(file: pathlib.Path) -> bool:
    """Say whether a result file is a merge's."""
    return file.name.endswith(_MERGED)


def measurements_of(way: Way, path: Path) -> Mapping[str, object]:
    """Return what measurements belong to: all that the way depends on, and the very path they were made along."""
    return {**way.subject, "path": path_digest(path)}


class Result:
    """The result of one item: a hidden journal while it is worked on, that goes on after a kill; renamed when done."""

    def __init__(self, file: pathlib.Path, subject: Mapping[str, object], progress: Progress) -> None:
        self._file = file
        self._hidden = file.with_name(f".{file.name}")
        self._journal = Journal(self._hidden, subject, progress)

    def __enter__(self) -> Journal:
        return self._journal.__enter__()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._journal.__exit__(kind, None, None)
        if kind is not None:
            return
        try:
            os.replace(self._hidden, self._file)
        except FileNotFoundError:  # a second run of the same shard was there first
            if not self._file.exists():
                raise
