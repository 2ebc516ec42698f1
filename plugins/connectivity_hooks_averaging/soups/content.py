"""report.json of an average."""

from __future__ import annotations

import pathlib
from dataclasses import asdict
from typing import Any

from connectivity_hooks.json_values import finite
from connectivity_hooks.reports import environment
from connectivity_hooks_averaging.scores import Scores
from connectivity_hooks_averaging.soups.result import Average
from connectivity_hooks_averaging.soups.words import answer_of, verdict_of

FORMAT = "connectivity_hooks.average/1"


def content_of(found: Average, out: pathlib.Path | None) -> dict[str, Any]:
    """Return what report.json holds, JSON-ready; `out` is what was written, None where nothing was."""
    lost: list[str] = []
    content = {
        "format": FORMAT,
        "answer": answer_of(found),
        "tone": "barrier" if found.refused else "connected",
        "verdict": verdict_of(found),
        "written": None if out is None else out.name,
        "members": list(found.members) if found.is_mean else [],
        "left_out": [asdict(out) for out in found.left_out],
        "equal": dict(found.equal),
        "checkpoints": [_checkpoint(found, name) for name in found.names],
        "soup": {**_scores(found.soup_scores), "held_out_loss": found.soup_held_out} if found.is_mean else None,
        "threshold": found.threshold,
        "barriers": found.barriers,
        "running": [asdict(joining) for joining in found.joinings],
        "method": found.method,
        "aligner": found.aligner,
        "measuring": dict(found.measuring),
        "task": found.task.describe(),
        "notes": list(found.notes),
        "environment": environment(),
    }
    ready: dict[str, Any] = finite(content, lost)
    ready["notes"] += [f"{place} is not a finite number" for place in lost]
    return ready


def _checkpoint(found: Average, name: str) -> dict[str, Any]:
    file, digest = found.files[name]
    return {
        "name": name,
        "file": file,
        "sha256": digest,
        "weight": found.shares[name],
        "averaged": found.is_mean and name in found.members,
        "alignment": found.records.get(name),
        "held_out_loss": None if found.held_out is None else found.held_out[name],
        **_scores(found.scores[name]),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {split: asdict(score) for split, score in scores.items()}
