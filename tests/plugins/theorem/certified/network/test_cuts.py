"""Cuts: where a sub-network can take over from what came before."""

import pytest
import torch
from certified_parts import NETWORKS, doubled, read
from small_networks import CLASSES, exact, image_task
from torch import nn

from connectivity_hooks.structure.program import INPUT, run_step
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.stretch import Stretch


def test_a_cut_stands_before_every_layer_that_reads_another():
    _, _, network = read("convolutional")
    names = [
        [layer.step.weights["weight"] for layer in Stretch(network, cut).layers] for cut in range(len(network.cuts))
    ]
    last = ["7.weight", "9.weight"]
    assert names == [["0.weight", "1.weight", "4.weight", *last], ["4.weight", *last], last, last[1:]]
    assert [space.width for space in network.spaces] == [2, 8, 6, 12, 3]


def values_before(network, weights, x, cut):
    """Return all values computed in front of a cut."""
    values = {INPUT: x}
    for step in network.program.steps[: network.cuts[cut].start]:
        values[step.name] = run_step(step, weights, values)
    return values


@pytest.mark.parametrize("case", NETWORKS)
def test_the_outputs_follow_from_the_values_at_a_cut_and_from_none_fewer(case):
    task, weights, network = read(case)
    x, steps = task.train.inputs.double(), network.program.steps
    for index, cut in enumerate(network.cuts):
        known = values_before(network, doubled(weights), x, index)
        now = {name: known[name] for name in cut.values}
        for step in steps[cut.start :]:
            now[step.name] = run_step(step, doubled(weights), now)
        torch.testing.assert_close(now[steps[-1].name], exact(task, weights, task.train)[0])
        for name in cut.values:
            assert any(name in step.inputs for step in steps[cut.start :])


@pytest.mark.parametrize("case", NETWORKS)
def test_between_neighbouring_cuts_no_layer_reads_another(case):
    _, _, network = read(case)
    mixing = {layer.step.name for layer in network.layers if layer.cols is not None}
    for cut in range(len(network.cuts) - 1):
        reached = {}  # of each value, the layers of the stretch it follows from
        for step in Stretch(network, cut, cut + 1).steps:
            before = set().union(*(reached.get(name, set()) for name in step.inputs))
            assert not (step.name in mixing and before)
            reached[step.name] = before | ({step.name} & mixing)
        assert any(reached.values())


class Projected(nn.Module):
    """A block whose skip is a convolution too: it reads the stem beside the block's first layer, and needs no cut."""

    def __init__(self):
        super().__init__()
        self.stem, self.skip = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 1)
        self.up, self.down = nn.Conv2d(6, 5, 1), nn.Conv2d(5, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        inner = self.down(torch.relu(self.up(x)))
        return self.head(torch.relu(inner + self.skip(x)).mean((2, 3)))


def test_a_layer_that_reads_none_since_the_cut_before_needs_no_cut():
    task = image_task(Projected)
    network = read_task(task.model().state_dict(), task)
    first = [Stretch(network, cut).layers[0].step.weights["weight"] for cut in range(len(network.cuts))]
    assert first == ["stem.weight", "up.weight", "down.weight", "head.weight"]
    alive = [[network.spaces[space].name for space in network.cut_spaces(cut)] for cut in (1, 2, 3)]
    assert [sorted(names) for names in alive] == [["stem.weight"], ["stem.weight", "up.weight"], alive[2]]


@pytest.mark.parametrize("case", NETWORKS)
def test_every_cut_stands_before_a_layer_that_reads_one_of_the_stretch_before(case):
    _, _, network = read(case)
    mixing = {layer.step.name for layer in network.layers if layer.cols is not None}
    for cut in range(1, len(network.cuts)):
        fresh = set()
        for step in Stretch(network, cut - 1, cut).steps:
            if step.name in mixing or fresh.intersection(step.inputs):
                fresh.add(step.name)
        first = Stretch(network, cut).steps[0]
        assert first.name in mixing
        assert fresh.intersection(first.inputs)
