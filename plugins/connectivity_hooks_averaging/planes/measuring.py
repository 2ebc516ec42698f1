"""Loss and error at many places, several in a pass over the data where that pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import Anywhere, SampleScores
from connectivity_hooks.model import Weights
from connectivity_hooks.progress import SILENT, Progress
from connectivity_hooks.tasks import Terms
from connectivity_hooks_averaging.planes.kept import Kept
from connectivity_hooks_averaging.scores import Score, Scores

Places = Mapping[str, float | Callable[[Weights], None]]
"""Where to measure, by a name that tells a place from all others of the same subject."""


def measured(
    places: Places, anywhere: Anywhere, kept: Kept | None = None, progress: Progress = SILENT
) -> dict[str, Scores]:
    """Return the scores of every place by its name.

    Args:
        places: Each is a t of the path of `anywhere`, or writes weights.
        anywhere: The model, inside its ``with`` block.
        kept: Remembers places.
        progress: Shows how far it is.

    Raises:
        InputError: The model fails, or no sample counts.
    """
    found = kept.known(places) if kept else {}
    missing = [name for name in places if name not in found]
    scored = _scored({name: places[name] for name in missing}, anywhere)
    for name, scores in progress.track(scored, "measuring places", len(missing)):
        found[name] = scores
        if kept:
            kept.add(name, scores)
    return found


def _scored(places: Places, anywhere: Anywhere) -> Iterator[tuple[str, Scores]]:
    splits = [split.name for split in anywhere.task.splits()]
    for name, scores in zip(places, anywhere.scores(list(places.values())), strict=True):
        yield name, {split: score_of(each, split) for split, each in zip(splits, scores, strict=True)}


def score_of(scores: SampleScores, split: str) -> Score:
    """Return the means over all that counts, summed in float64; a loss that is not a number is infinite."""
    loss = _mean(scores.losses, split)
    return Score(math.inf if math.isnan(loss) else loss, None if scores.errors is None else _mean(scores.errors, split))


def _mean(terms: Terms, split: str) -> float:
    total, weight = torch.stack([terms.sums.double().sum(), terms.weights.double().sum()]).tolist()
    if not weight:
        raise InputError(f"{split}: no target counts, nothing is left to measure")
    return float(total / weight)
