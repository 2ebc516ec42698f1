"""What a landscape shows, in words."""

from __future__ import annotations

import itertools
import math

from connectivity_hooks_averaging.planes.landscape import CHECKPOINT, CORNER, PATH, Landscape, Marked


def sentences_of(found: Landscape) -> list[str]:
    """Return sentences, the one that says most first."""
    split = found.splits[0]
    corners = [each for each in found.points if each.kind == CORNER]
    first = _on_plane(found, corners, split) if found.kind == "plane" else _on_slice(found, corners[0], split)
    sentences = [*first, *_on_projections(found, split), *_on_not_finite(found)]
    return [*sentences, *_on_statistics(found)]


def _on_plane(found: Landscape, corners: list[Marked], split: str) -> list[str]:
    losses = ", ".join(f"{each.name} {each.scores[split].loss:.4g}" for each in corners)
    apart = ", ".join(
        f"{a.name} and {b.name} {math.dist(a.at, b.at):.4g}" for a, b in itertools.combinations(corners, 2)
    )
    low, at = found.lowest(split)
    sentences = [f"Plane through {', '.join(each.name for each in corners)}: {split} loss {losses}."]
    inside = found.highest_inside(split)
    if inside is not None:
        places = f"{sum(found.inside)} place{'s' * (sum(found.inside) != 1)}"
        sentences.append(
            f"Between them, at {places} in their triangle, the {split} loss is at most {_figure(inside.loss)}."
        )
    sentences.append(f"The lowest measured on the plane is {low:.4g}, at {_place(at)}. Distances: {apart}.")
    return sentences


def _on_slice(found: Landscape, corner: Marked, split: str) -> list[str]:
    low, at = found.lowest(split)
    reach, loss = found.grid.axes[0][-1], corner.scores[split].loss
    count = {1: "a random direction", 2: "two random directions"}[len(found.grid.axes)]
    sentences = [
        f"Slice around {corner.name} along {count}, to {reach:.4g} times the length of each filter: {split} loss "
        f"{loss:.4g} in the middle."
    ]
    if low < loss and math.hypot(*at) > 0:
        sentences.append(f"It is lower at {_place(at)}: {low:.4g}.")
    return sentences


def _on_projections(found: Landscape, split: str) -> list[str]:
    sentences = [
        f"{each.name} lies {each.distance:.4g} from the plane, above {_place(each.at)}: its own {split} loss is "
        f"{_figure(each.scores[split].loss)}, that of the plane beneath it {_figure(each.beneath[split].loss)}."
        for each in found.points
        if each.kind == CHECKPOINT
    ]
    for name in dict.fromkeys(each.name for each in found.points if each.kind == PATH):
        path = [each for each in found.points if each.kind == PATH and each.name == name]
        far = max(path, key=lambda each: each.distance)
        if far.distance <= 1e-4 * max(math.dist(a.at, b.at) for a, b in itertools.combinations(found.points[:3], 2)):
            sentences.append(f"The path {name} lies in the plane: {split} loss {_most(path, split)} at most.")
            continue
        sentences.append(
            f"The path {name} lies up to {far.distance:.4g} from the plane (at t = {far.t:.4g}): its own {split} loss "
            f"is {_most(path, split)} at most, that of the plane beneath it "
            f"{_figure(max(each.beneath[split].loss for each in path))}."
        )
    return sentences


def _on_not_finite(found: Landscape) -> list[str]:
    return [
        f"At {count} of {len(found.scores)} places the {split} loss is not a finite number."
        for split in found.splits
        if (count := found.not_finite(split))
    ]


def _on_statistics(found: Landscape) -> list[str]:
    if not found.mixes_statistics:
        return []
    how = (
        "mixed as the weights are, which fits none of the mixtures, and beyond the triangle variances may be negative"
        if found.kind == "plane"
        else "those of the checkpoint, though the weights have moved"
    )
    return [f"The networks have batch norm, and their running statistics are {how}: --correct batch-norm helps."]


def _most(path: list[Marked], split: str) -> str:
    return _figure(max(each.scores[split].loss for each in path))


def _figure(loss: float) -> str:
    return f"{loss:.4g}" if math.isfinite(loss) else "not finite"


def _place(at: tuple[float, ...]) -> str:
    return f"({', '.join(f'{each:.4g}' for each in at)})"
