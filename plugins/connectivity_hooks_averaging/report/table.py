"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectivity_hooks.reports import aligned


def table_of(content: Mapping[str, Any]) -> str:
    """Return a line for each checkpoint and one for the mean: loss, and error in percent, on each split."""
    splits = list(content["task"]["samples"])
    head = ["checkpoint", "averaged", *(f"{split} {what}" for split in splits for what in ("loss", "error"))]
    rows = [(each, each["name"], "yes" if each["averaged"] else "no") for each in content["checkpoints"]]
    rows.append((content["soup"], "mean", ""))
    return aligned(head, [[name, taken, *_figures(of, splits)] for of, name, taken in rows])


def _figures(of: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    found = []
    for split in splits:
        loss, error = of[split]["loss"], of[split]["error"]
        found += ["not finite" if loss is None else f"{loss:.4g}", "–" if error is None else f"{100 * error:.2f} %"]
    return found
