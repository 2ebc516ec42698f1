"""Answers at positions, such as a token's or a pixel's label: each position is a sample of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.features import Observation
from connectivity_hooks.model import evaluation_mode
from connectivity_hooks.tasks import IGNORED, LOSSES, Loss
from connectivity_hooks_theorem.conditions.outputs import own_outputs

_AT_LEAST = 1024
"""Positions looked at where there are fewer samples: of as many a share is known within 3 % (95 %)."""

_MOVED = "labels {} are of other positions than outputs {}, so no feature belongs to a label"
_ELSEWHERE = "its positions are not those of the outputs {}"


@dataclass(frozen=True)
class Answers:
    """M positions that have a label, drawn from all that have one.

    Attributes:
        samples: (M,) the sample of each, in ascending order.
        places: (M,) its position among the outputs' own, counted through.
        columns: (M,) its position among those that are compared with labels.
        targets: (M,) its label.
        lengths: The outputs' positions, (T,) or (H, W).
        classes: C.
        total: How many positions have a label.
        loss: The task's loss, settled on how labels are read.
    """

    samples: Tensor
    places: Tensor
    columns: Tensor
    targets: Tensor
    lengths: tuple[int, ...]
    classes: int
    total: int
    loss: Loss

    def details(self) -> dict[str, float | int | str | None]:
        """Return how many positions there are, for a verdict's details."""
        return {"positions": self.total}


def answers_at_positions(observation: Observation, seed: int) -> Answers | str | None:
    """Return the answers of a model that gives labels at positions; None where it gives one a sample.

    As many positions are drawn as there are samples, or 1024 where these are fewer.

    Args:
        observation: Module and data.
        seed: Seed of the draw.

    Returns:
        Or the reason of an invalid verdict: a loss that does not fit, or labels that are of other positions.
    """
    targets = observation.targets()
    if targets.is_floating_point() or math.prod(targets.shape[1:]) == 1:
        return None
    try:
        few = replace(observation, split=observation.split.head(2))
        outputs = own_outputs(few)
        if isinstance(outputs, str) or outputs.ndim < 3:
            return outputs if isinstance(outputs, str) else None
        few.require_loss(outputs)
        return _answers(few.loss, outputs[:1], targets.to(outputs.device), seed)
    except InputError as error:
        return one_line(error)


def features_at(observation: Observation, layer: str, answers: Answers) -> Tensor | str:
    """Return the features (M, n) of a layer at the positions of the answers, or the reason of an invalid verdict."""
    parts, row = [], 0
    for features, targets in observation.at_positions(layer):
        here = (answers.samples >= row) & (answers.samples < row + len(targets))
        if tuple(features.shape[2:]) != answers.lengths:
            return _ELSEWHERE.format(answers.lengths)
        samples, places = answers.samples[here].to(features.device) - row, answers.places[here].to(features.device)
        parts.append(features.flatten(2)[samples, :, places])
        row += len(targets)
    if not parts:
        return observation.why_not(layer)
    found = torch.cat(parts)
    if not found.shape[1]:
        return "it has no neurons"
    return found if bool(torch.isfinite(found).all()) else "its features hold NaN or Inf"


@torch.no_grad()
def own_logits(observation: Observation, answers: Answers) -> Tensor:
    """Return the model's own outputs (M, C) at the positions of the answers."""
    return torch.cat(list(_logits(observation, answers)))


def own_loss_at(observation: Observation, answers: Answers) -> float | str:
    """Return the model's own mean loss at the positions of the answers, or the reason of an invalid verdict."""
    logits = own_logits(observation, answers)
    loss = float(LOSSES["cross-entropy"].measure(logits, answers.targets.to(logits.device)).mean())
    return loss if math.isfinite(loss) else f"the network's own loss is {loss:g}"


def _logits(observation: Observation, answers: Answers) -> Iterator[Tensor]:
    row, fit = 0, answers.loss.fit
    assert fit is not None
    with evaluation_mode(observation.model):
        for inputs, targets in observation.split.batches(observation.batch_size):
            outputs = observation.forward(observation.model, inputs)
            here = (answers.samples >= row) & (answers.samples < row + len(targets))
            logits = fit(outputs, targets.to(outputs.device))[0].flatten(2)
            samples, columns = answers.samples[here].to(logits.device) - row, answers.columns[here].to(logits.device)
            yield logits[samples, :, columns]
            row += len(targets)


def _answers(loss: Loss, outputs: Tensor, targets: Tensor, seed: int) -> Answers | str | None:
    if loss.fit is None:
        return f"loss {loss.name}: it does not say which label belongs to which position"
    wanted = loss.fit(outputs.expand(len(targets), *outputs.shape[1:]), targets)[1]
    numbers = torch.arange(outputs.numel(), dtype=torch.float64, device=outputs.device).view(outputs.shape)
    logits = loss.fit(numbers, targets[:1])[0]
    if logits.ndim != wanted.ndim + 1:
        return None  # a number for each output
    places, lengths = _places(logits[0].flatten(1), tuple(outputs.shape[1:]))
    if places is None:
        return _MOVED.format(tuple(targets.shape[1:]), tuple(outputs.shape[1:]))
    labels = wanted.reshape(len(wanted), -1)
    counted = (labels != IGNORED).nonzero()
    if not len(counted):
        return f"all labels are {IGNORED}, which is ignored"
    most = min(len(counted), max(len(targets), _AT_LEAST))
    drawn = torch.randperm(len(counted), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    samples, columns = counted[drawn.to(counted.device)].T
    chosen = labels[samples, columns]
    return Answers(samples, places[columns], columns, chosen, lengths, logits.shape[1], len(counted), loss)


def _places(numbers: Tensor, shape: tuple[int, ...]) -> tuple[Tensor | None, tuple[int, ...]]:
    """Return at which of the outputs' positions each column (C, …) is, by the numbers that were put there.

    None where a column is of no one position: outputs that were brought to another size.
    """
    coordinates = torch.unravel_index(numbers.round().long(), shape)
    moving = [axis for axis, at in enumerate(coordinates) if bool((at[0] != at[1]).any())]
    if len(moving) != 1 or not torch.equal(numbers, numbers.round()):
        return None, ()
    kept = [axis for axis in range(len(shape)) if axis != moving[0]]
    places = torch.zeros_like(coordinates[0][0])
    for axis in kept:
        places = places * shape[axis] + coordinates[axis][0]
    return places, tuple(shape[axis] for axis in kept)
