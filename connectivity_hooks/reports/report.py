"""A report on the paths between one pair of checkpoints, as plain data and as files."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from connectivity_hooks.checkpoints.atomic import atomic_text, make_folder
from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.conclusion import Conclusion
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.json_values import finite
from connectivity_hooks.paths.path import EndPoint
from connectivity_hooks.paths.second_end import second_end_in_words
from connectivity_hooks.reports.calibrated import calibrated_json, calibrated_lines
from connectivity_hooks.reports.comparison import FILE as COMPARISON
from connectivity_hooks.reports.comparison import comparison_table, cost_line, wrapped, write_comparison
from connectivity_hooks.reports.order import ordered
from connectivity_hooks.reports.rows import Row, read_rows, rows_of, write_rows
from connectivity_hooks.reports.tables import figures_table
from connectivity_hooks.untrusted import guarded, read_json
from connectivity_hooks.version import __version__

FORMAT = "connectivity_hooks.report/1"
FILE = "report.json"
ROWS = "evaluation.csv"
REMEDY = "run connect with --out again"


_AT_LENGTH = 2
"""Paths of which everything is said on the terminal; of more it would be pages, which report.html is for."""


@dataclass(frozen=True)
class Headline:
    """An answer in a sentence."""

    headline: str
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What was found about one pair of checkpoints.

    Attributes:
        evaluations: For each builder its evaluated path, at the same samples.
        checkpoints: The two ends; None when the paths came without.
        conditions: For each checkpoint the verdicts.
        notes: What a person should know.
        refused: Of each builder that was tried and gave no path, why.
        kept: Name of the path that is chosen of all; None where none is.
        why: Why that one, in a sentence.
    """

    evaluations: Mapping[str, Evaluation]
    checkpoints: tuple[EndPoint, EndPoint] | None = None
    conditions: Mapping[str, Sequence[Verdict]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    kept: str | None = None
    why: str = ""

    @classmethod
    def of(
        cls,
        evaluations: Sequence[Evaluation],
        *,
        checkpoints: tuple[EndPoint, EndPoint] | None = None,
        conditions: Mapping[str, Sequence[Verdict]] | None = None,
        notes: Sequence[str] = (),
    ) -> Report:
        """Make a report; each evaluation goes by its builder's name."""
        named = {evaluation.path.builder or f"path {i}": evaluation for i, evaluation in enumerate(evaluations, 1)}
        ends = checkpoints or evaluations[0].path.end_points
        return cls(named, ends, conditions or {}, notes_of(named, notes))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values; what is not a finite number is None and named in the notes."""
        lost: list[str] = []
        first = next(iter(self.evaluations.values()))
        content = {
            "format": FORMAT,
            "checkpoints": _checkpoints(self.checkpoints),
            "task": dict(first.task),
            "builders": {name: _builder(evaluation) for name, evaluation in self.evaluations.items()},
            "conditions": {
                checkpoint: [verdict_json(verdict) for verdict in verdicts]
                for checkpoint, verdicts in self.conditions.items()
            },
            "refused": dict(self.refused),
            "kept": self.kept and {"builder": self.kept, "why": self.why},
            "notes": list(self.notes),
            "environment": environment(first.threads),
        }
        ready: dict[str, Any] = finite(content, lost)
        ready["notes"] += [f"{place} is not a finite number" for place in lost]
        return ready

    @property
    def compares(self) -> bool:
        """Whether several ways were tried."""
        return len(self.evaluations) + len(self.refused) > 1

    @property
    def answers(self) -> list[Conclusion | Headline]:
        """What was found, in words: of one path all, of several what each is, of those one is chosen from this one."""
        conclusions = {name: found.conclusion for name, found in ordered(self.evaluations).items()}
        if self.kept is not None:
            return [Headline(self.why), conclusions[self.kept]]
        if len(conclusions) <= _AT_LENGTH:
            return list(conclusions.values())
        # Of many the first lines are read, and perhaps no more.
        return [Headline(conclusion.headline) for conclusion in conclusions.values()]

    def table(self, width: int | None = None) -> str:
        """Return the figures as a plain text table.

        Args:
            width: Columns of the terminal; None where lines may have any length.
        """
        evaluations = list(self.evaluations.values())
        if self.compares:
            return comparison_table(ordered(self.evaluations, self.kept), self.refused, self.kept, width)
        lines = [line for each in evaluations for line in (*calibrated_lines(each), cost_line(each))]
        costs = [line for text in lines for line in wrapped(text, width)]
        return "\n".join([figures_table(evaluations, width), *costs])

    def save(self, folder: pathlib.Path) -> None:
        """Write evaluation.csv, report.svg, report.html and, last, report.json; each in one step."""
        from connectivity_hooks.reports.html import write_pages

        make_folder(folder)
        rows = rows_of(self.evaluations)
        saved = Saved(self.as_json(), tuple(rows))
        write_rows(folder / ROWS, rows)
        if self.compares:
            write_comparison(folder / COMPARISON, self.evaluations, self.refused, self.kept)
        else:
            (folder / COMPARISON).unlink(missing_ok=True)  # of an earlier run
        write_pages(saved, folder)
        atomic_text(folder / FILE, json.dumps(saved.content, indent=1, allow_nan=False) + "\n")


_KINDS: dict[str, type] = {
    "task": dict,
    "builders": dict,
    "conditions": dict,
    "refused": dict,
    "notes": list,
    "environment": dict,
}


def _in_words(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return kinds.get(type(value), "a number")


@dataclass(frozen=True)
class Saved:
    """A report as its files have it: the JSON content and the rows of evaluation.csv."""

    content: Mapping[str, Any]
    rows: tuple[Row, ...]


def load_saved(folder: pathlib.Path) -> Saved:
    """Read report.json and evaluation.csv of a folder; raise `InputError` when they are not there or not whole."""
    file = folder / FILE
    if not file.exists():
        raise InputError(f"{folder}: holds no finished report; run connect with --out first")
    content = read_json(file, "a finished report", REMEDY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{file}: is not of format {FORMAT}; {REMEDY}")
    for name, kind in _KINDS.items():
        found = content.get(name, kind())
        if not isinstance(found, kind):
            raise InputError(f"{file}: {name} is {_in_words(found)}, expected {_in_words(kind())}; {REMEDY}")
    with guarded(folder / ROWS, "the table of measurements of a report", REMEDY):
        return Saved(content, tuple(read_rows(folder / ROWS)))


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON-ready values, its status in a word."""
    fields = {key: value for key, value in dataclasses.asdict(verdict).items() if key != "details"}
    result: dict[str, Any] = finite({**fields, "status": verdict.status, "details": dict(verdict.details)})
    return result


def environment(threads: int | None = None) -> dict[str, str | int]:
    """Return the versions and the kind of machine a result depends on, and the threads it was computed with.

    Args:
        threads: Threads that evaluated; None for PyTorch's number.
    """
    return {
        "connectivity_hooks": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "threads": threads or torch.get_num_threads(),
    }


def notes_of(evaluations: Mapping[str, Evaluation], notes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return notes and those of evaluations, each once."""
    return tuple(dict.fromkeys([*notes, *(note for found in evaluations.values() for note in found.notes)]))


def _checkpoints(ends: tuple[EndPoint, EndPoint] | None) -> dict[str, Any] | None:
    return None if ends is None else {side: dataclasses.asdict(end) for side, end in zip("ab", ends, strict=True)}


def _builder(evaluation: Evaluation) -> dict[str, Any]:
    path, build, alignment = evaluation.path, evaluation.build, evaluation.alignment
    kinds = {kind: list(evaluation.guarantees).count(kind) for kind in ("constant", "convex", "measured")}
    worst: dict[str, float] = {}
    for deviation in evaluation.deviations:
        worst[deviation.guarantee] = max(worst.get(deviation.guarantee, 0.0), deviation.relative)
    return {
        **{split: _figures(evaluation, split) for split in evaluation.barriers},
        "bound": evaluation.bound,
        "calibrated": calibrated_json(evaluation.calibrated),
        "unproven": list(evaluation.proof.gaps),
        "conclusion": finite(dataclasses.asdict(evaluation.conclusion)),  # what is lost in it is noted elsewhere
        "length": evaluation.length,
        "seconds": evaluation.seconds + sum(cost.seconds for cost in (build, alignment) if cost),
        "build_seconds": build and build.seconds,
        "alignment_seconds": alignment and alignment.seconds,
        "evaluation_seconds": evaluation.seconds,
        "peak_memory": build and build.memory,
        "peak_memory_of": build and build.device,
        "peak_memory_is": build and build.memory_is,
        "points": len(path.positions),
        "positions": list(path.positions),
        "basis": path.basis,
        "guarantees": kinds,
        "largest_deviation": worst,
        "correction": evaluation.correction,
        "correction_options": dict(evaluation.correction_options),
        "alignment": None if path.alignment is None else _alignment(path.alignment),
        "options": dict(path.options),
        "remarks": dict(path.remarks),
    }


def _figures(evaluation: Evaluation, split: str) -> dict[str, Any]:
    """Return the figures of one split; what e to a finite loss is beyond floats is None and no loss of a figure."""
    perplexity = evaluation.perplexity.get(split)
    return {
        **dataclasses.asdict(evaluation.barriers[split]),
        "loss_middle": next((point.loss for point in evaluation.curves[split] if point.t == 1 / 2), None),
        "perplexity": perplexity and finite(dataclasses.asdict(perplexity)),
    }


def _alignment(alignment: Mapping[str, object]) -> dict[str, object]:
    told = {key: alignment.get(key) for key in ("aligner", "options", "deviation")}
    return {**told, "in_words": second_end_in_words(alignment)}
