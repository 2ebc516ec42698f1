"""Outputs under many masks, with what comes before the first mask computed once, not for every draw of every layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from connectivity_hooks.features import Observation
from connectivity_hooks.model import evaluation_mode
from connectivity_hooks_theorem.conditions.outputs import by_draw, joined, outputs_under, repeated
from connectivity_hooks_theorem.conditions.replay import Diverged, Replay

# Far above what the kernels for another batch size change in float32, far below what exchanged samples change.
_AGREEMENT = 1e-5

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class Masked:
    """The outputs under the masks of one question.

    Attributes:
        layer: The layer asked about.
        outputs: (D, N, …).
        spoilt: Whether the layer held NaN or Inf.
    """

    layer: str
    outputs: Tensor
    spoilt: bool


def outputs_of_each(
    observation: Observation, questions: Mapping[str, Masks], draws: int, size: int
) -> Iterator[Masked]:
    """Yield for each layer asked about the outputs under its masks, in any order.

    A pass up to the first mask is made once, and each question goes on from there (`Replay`). Whether that gives what
    whole passes give is tried on two samples for every question; where it does not, whole passes are made.

    Time: about one pass over the data, and for each question draws passes from its first mask on; memory: outputs
    within the observation's budget, or one question's, and what the modules before a mask gave for batch_size / draws
    samples.

    Args:
        observation: Module and data.
        questions: For each layer asked about its masks, each (D, n).
        draws: D.
        size: Bytes of one question's outputs.
    """
    layers = {layer: None for masks in questions.values() for layer in masks}
    replay = Replay(observation.model, layers, observation.layouts(), observation.forward)
    starts = _starts(observation, replay, questions, draws)
    shared = list(starts)
    for layer in questions:
        if layer not in starts:
            yield _plain(observation, layer, questions[layer], draws)
    together = max(1, observation.budget // max(1, size))
    for first in range(0, len(shared), together):
        group = {layer: questions[layer] for layer in shared[first : first + together]}
        try:
            found = _shared(observation, replay, group, starts, draws)
        except Diverged:
            found = [_plain(observation, layer, masks, draws) for layer, masks in group.items()]
        yield from found


@torch.no_grad()
def _starts(observation: Observation, replay: Replay, questions: Mapping[str, Masks], draws: int) -> dict[str, str]:
    """Return for each question that passes can be shared for the layer they go on from, in the order of a pass."""
    few = observation.split.head(3)
    if len(few) < 3:
        return {}  # two batches of different sizes and more than one sample are needed to tell the axes
    starts: dict[str, str] = {}
    # whatever a stranger's model does that a replay cannot follow, whole passes can
    with contextlib.suppress(Exception), evaluation_mode(observation.model), replay.installed():
        for samples in (3, 2):
            inputs, _ = next(iter(few.head(samples).batches(samples)))
            own = by_draw(replay.learn(inputs, samples), 1, samples)
        place = {layer: index for index, layer in enumerate(replay.order)}
        first = {layer: min(masks, key=lambda name: place[name]) for layer, masks in questions.items()}

        def agrees(start: str) -> bool:
            # with all neurons kept: outputs that do not depend on a layer agree whatever is in it
            own_masks = {layer: questions[layer][layer] for layer in questions if first[layer] == start}
            replay.masking.masks = {layer: torch.ones_like(mask) for layer, mask in own_masks.items()}
            replay.masking.spoilt = {}
            again = by_draw(replay.rerun(repeated(inputs, draws, samples), draws), draws, samples)
            return _agree(again, own) and not any(bool(replay.masking.spoilt[layer]) for layer in own_masks)

        for layer in sorted(questions, key=lambda layer: place[first[layer]]):
            try:
                replay.masking.masks = {}
                if replay.settle(inputs, first[layer], partial(agrees, first[layer])):
                    starts[layer] = first[layer]
            except Exception:
                replay.forget()
        replay.masking.masks = {}
    return starts


def _agree(again: Tensor, own: Tensor) -> bool:
    return torch.allclose(again, own.expand_as(again), rtol=_AGREEMENT, atol=_AGREEMENT * float(own.abs().max()))


@torch.no_grad()
def _shared(
    observation: Observation, replay: Replay, questions: Mapping[str, Masks], starts: Mapping[str, str], draws: int
) -> list[Masked]:
    outputs: dict[str, list[Tensor]] = {layer: [] for layer in questions}
    spoilt: dict[str, list[Tensor]] = {layer: [] for layer in questions}
    with evaluation_mode(observation.model), replay.installed():
        for inputs, targets in observation.split.batches(max(1, observation.batch_size // draws)):
            replay.forget()
            more = repeated(inputs, draws, len(targets))
            for layer, masks in questions.items():
                replay.masking.masks = {}
                replay.advance(inputs, starts[layer])
                replay.masking.masks, replay.masking.spoilt = masks, {}
                outputs[layer].append(by_draw(replay.rerun(more, draws), draws, len(targets)))
                spoilt[layer].append(replay.masking.spoilt[layer])
    replay.masking.masks = {}
    return [Masked(layer, joined(outputs[layer]), bool(torch.stack(spoilt[layer]).any())) for layer in questions]


def _plain(observation: Observation, layer: str, masks: Masks, draws: int) -> Masked:
    outputs, masking = outputs_under(observation, masks, draws)
    return Masked(layer, outputs, bool(masking.spoilt[layer]))
