"""Cuts: where a sub-network can take over from what came before."""

import pytest
import torch
from parts import NETWORKS, doubled, read
from small_networks import exact

from connectivity_hooks.structure.program import INPUT, run_step
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
