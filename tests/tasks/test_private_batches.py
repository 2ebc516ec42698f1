"""What is handed to a model or a loss is its own: one that writes in place changes no later pass and nobody's data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.tasks.loss import custom_loss
from connectivity_hooks.tasks.split import CachedSplit, Split
from connectivity_hooks.tasks.streamed import StreamedSplit
from connectivity_hooks.watching.probe import read_probe

INPUTS = torch.arange(24.0).view(8, 3) / 24
TARGETS = torch.arange(8) % 3


def streamed() -> StreamedSplit:
    parts = list(zip(INPUTS.clone().split(4), TARGETS.clone().split(4), strict=True))
    return StreamedSplit("train", parts, torch.device("cpu"), torch.float32)


SPLITS = {
    "cached": lambda: CachedSplit("train", INPUTS.clone(), TARGETS.clone()),
    "streamed": streamed,
    "batched": lambda: BatchedSplit("probe", [(INPUTS.clone(), TARGETS.clone())]),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_a_pass_that_writes_leaves_the_split_as_it_was(kind: str) -> None:
    split: Split = SPLITS[kind]()
    for inputs, targets in split.batches(3):
        inputs.zero_()
        targets.zero_()
    split.targets().zero_()
    batches = list(split.batches(3))
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), INPUTS)
    assert torch.equal(torch.cat([targets for _, targets in batches]), TARGETS)
    assert torch.equal(split.targets(), TARGETS)


def test_a_loader_that_fills_one_buffer_again_is_read_as_it_was() -> None:
    class Reusing:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            x, y = torch.empty(4, 3), torch.empty(4, dtype=torch.long)
            for first in (0, 4):
                yield x.copy_(INPUTS[first : first + 4]), y.copy_(TARGETS[first : first + 4])

    for split in (
        StreamedSplit("train", Reusing(), torch.device("cpu"), torch.float32),
        read_probe(Reusing(), 8, seed=0),
    ):
        assert torch.equal(torch.cat([inputs for inputs, _ in list(split.batches(8))]), INPUTS)
        assert torch.equal(split.targets(), TARGETS)


class Writing(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        x -= x.mean()
        return super().forward(x)


def test_a_watched_model_that_writes_changes_no_data_of_the_user() -> None:
    inputs, targets = INPUTS.clone(), TARGETS.clone()
    probe = list(zip(inputs.split(4), targets.split(4), strict=True))
    model = Writing(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    with ch.watch(model, probe=probe, every=1, conditions=["separability"]) as watch:
        for _ in range(3):
            watch.step()
    assert torch.equal(inputs, INPUTS)
    assert len({row.measured for row in watch.history}) == 1


def test_a_loss_that_writes_gets_copies() -> None:
    def function(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = F.cross_entropy(outputs, targets, reduction="none")
        targets.zero_()
        with torch.no_grad():
            outputs.zero_()
        return losses

    loss = custom_loss("own", function, convex=True)
    outputs, targets = INPUTS.double(), TARGETS.clone()
    expected = F.cross_entropy(outputs, targets, reduction="none")
    for _ in range(2):
        assert torch.equal(loss.measure(outputs, targets).sums, expected)
