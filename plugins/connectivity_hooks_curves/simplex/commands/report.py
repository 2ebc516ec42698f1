"""What ``connectivity-hooks simplex`` found, as JSON and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from connectivity_hooks.contracts import Correction
from connectivity_hooks.paths import second_end_in_words
from connectivity_hooks_curves.simplex.complex import Complex
from connectivity_hooks_curves.simplex.measuring import QUANTILE, Measured, spread


def content_of(
    found: Complex, file: str, vertices: Sequence[Measured], draws: Sequence[Measured], correction: Correction | None
) -> dict[str, Any]:
    """Return the report: of what the volume is, how large it is, and what was measured in it; null is not finite."""
    names = [found.name(vertex) for vertex in range(len(found.vertices))]
    return {
        "file": file,
        "vertices": [
            {
                "name": name,
                "file": v.file or None,
                "sha256": v.sha256 or None,
                "alignment": v.alignment,
                **_row(measured),
            }
            for name, v, measured in zip(names, found.vertices, vertices, strict=True)
        ],
        "simplices": [[names[vertex] for vertex in simplex] for simplex in found.simplices],
        "volume": {
            "dimension": found.dimension,
            "log": _finite(found.log_volume),
            "log_of_each": [_finite(each) for each in found.log_volumes],
            "edge": found.edge,
        },
        "draws": {"count": len(draws), "quantile": QUANTILE, **_spreads(draws)},
        "correction": correction.name if correction else None,
        "options": dict(found.options),
        "training": dict(found.training),
    }


def in_words(content: Mapping[str, Any]) -> list[str]:
    """Return the report in lines for a person."""
    vertices, volume, draws = content["vertices"], content["volume"], content["draws"]
    checkpoints = [row for row in vertices if row["file"]]
    lines = [
        second_end_in_words(row["alignment"], row["name"], checkpoints[0]["name"])
        for row in checkpoints
        if row["alignment"] is not None
    ]
    joined = f"{len(checkpoints)} checkpoints joined through {len(vertices) - len(checkpoints)} connectors"
    lines.append(
        f"{content['file']}: {joined}; "
        f"log-volume {_shown(volume['log'])} in {volume['dimension']} dimensions, all simplices together, "
        f"that of one right-angled simplex with edges of {volume['edge']:.4g}"
    )
    for split, figures in draws["splits"].items():
        for what, scale, unit in (("loss", 1, ""), ("error", 100, " %")):
            if figures[what] is None:
                continue
            largest, mean, high = (_shown(figures[what][key], scale, unit) for key in ("max", "mean", "quantile"))
            ends = ", ".join(f"{_shown(row[split][what], scale, unit)} at {row['name']}" for row in vertices)
            lines.append(
                f"{split} {what} of {draws['count']} draws: {mean} in the mean, {QUANTILE:.0%} of them at most {high}, "
                f"{largest} at most; {ends}"
            )
    return lines


def _row(measured: Measured) -> dict[str, dict[str, float | None]]:
    return {
        split: {"loss": _finite(loss), "error": _finite(measured.errors[split])}
        for split, loss in measured.losses.items()
    }


def _spreads(draws: Sequence[Measured]) -> dict[str, Any]:
    splits = {
        split: {"loss": _spread([d.losses[split] for d in draws]), "error": _spread([d.errors[split] for d in draws])}
        for split in draws[0].losses
    }
    return {"splits": splits}


def _spread(figures: Sequence[float | None]) -> dict[str, float | None] | None:
    found = spread(figures)
    return None if found is None else {name: _finite(figure) for name, figure in found.items()}


def _finite(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def _shown(figure: float | None, scale: float = 1, unit: str = "") -> str:
    return "not finite" if figure is None else f"{figure * scale:.4g}{unit}"
