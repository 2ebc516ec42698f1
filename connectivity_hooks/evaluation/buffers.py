"""What a person should know of the buffers along a path: which are measured, computed, or only interpolated."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from connectivity_hooks.evaluation.running_statistics import tracked_norms
from connectivity_hooks.evaluation.spectral_norm import spectral_norms
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths.path import Path

_SHOWN = 5
"""Names in a note: enough to see what they have in common, and one line."""


def buffer_notes(model: nn.Module, path: Path, left: Collection[str] = ()) -> tuple[str, ...]:
    """Return a note on derived buffers that are recomputed, and one on those that differ between the ends.

    Running statistics of batch and instance norms are no part of the second: whether they are corrected is chosen.

    Args:
        model: The model.
        path: The path.
        left: Names of modules that were to be corrected and could not be.
    """
    spectral = spectral_norms(path.start)
    known = {name for norm in spectral for name in (norm.u, norm.v)}
    for norm in tracked_norms(model).keys() - set(left):
        known |= {f"{norm}.{name}".lstrip(".") for name in ("running_mean", "running_var")}
    moved = [name for name in _moved(model, path) if name not in known]
    notes = []
    if spectral:
        divided = _listed([norm.weight for norm in spectral])
        notes.append(f"spectral norm: u and v of {divided} are computed anew between the path's points")
    if moved:
        notes.append(
            f"buffers that differ between the ends are interpolated as they are and may not fit the weights in "
            f"between: {_listed(moved)}; nothing re-estimates or recomputes them"
        )
    return tuple(notes)


def _moved(model: nn.Module, path: Path) -> list[str]:
    last = path.end
    names = [name for name, buffer in model.named_buffers() if buffer.is_floating_point() and name in path.start]
    return [name for name in names if not same(path.start[name], last[name])]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
