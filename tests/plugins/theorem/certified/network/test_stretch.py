"""Stretches: parts of a network, run one after the other, are the network."""

import itertools

import pytest
import torch
from certified_parts import NETWORKS, doubled, read
from small_networks import exact
from torch import nn

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import in_batches, inputs


@pytest.mark.parametrize("case", NETWORKS)
def test_stretches_one_after_the_other_compute_what_the_module_computes(case):
    task, weights, network = read(case)
    values, last = {INPUT: task.train.inputs.double()}, len(network.cuts) - 1
    parts = [Stretch(network, cut, cut + 1) for cut in range(last)]
    for stretch in parts:
        values = stretch.run(doubled(weights), values)
        assert tuple(values) == stretch.values == network.cuts[stretch.until].values
    (outputs,) = Stretch(network, last).run(doubled(weights), values).values()
    torch.testing.assert_close(outputs, exact(task, weights, task.train)[0])
    assert [step for part in (*parts, parts[-1].rest) for step in part.steps] == list(network.program.steps)
    assert [layer for part in (*parts, parts[-1].rest) for layer in part.layers] == list(network.layers)


@pytest.mark.parametrize("case", NETWORKS)
def test_a_stretch_knows_what_follows(case):
    _, _, network = read(case)
    stretch = Stretch(network, 1, 2)
    assert (stretch.onwards, stretch.rest) == (Stretch(network, 1), Stretch(network, 2))
    assert stretch.onwards.steps == (*stretch.steps, *stretch.rest.steps)
    assert network.output in stretch.rest.layers
    assert stretch.rest.hidden == tuple(layer for layer in stretch.rest.layers if layer is not network.output)
    assert Stretch(network, 1, 1).layers == ()
    assert Stretch(network, 1, 1).values == network.cuts[1].values


@pytest.mark.parametrize("case", NETWORKS)
def test_all_samples_are_run_in_batches_and_written_over_what_is_there(case):
    task, weights, network = read(case)
    count, last = len(task.train), len(network.cuts) - 1
    features = Stretch(network, 0, last).run_all(weights, inputs(task.train, 70), count)
    (outputs,) = Stretch(network, last).run_all(weights, in_batches(features, 50), count).values()
    torch.testing.assert_close(outputs.double(), exact(task, weights, task.train)[0], rtol=1e-4, atol=1e-5)
    room = torch.empty_like(outputs)
    again = Stretch(network, last).run_all(weights, in_batches(features, 50), count, into=room)
    (found,) = again.values()
    assert found.data_ptr() == room.data_ptr()
    assert found.equal(outputs)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_norms_use_a_batchs_own_statistics_and_move_the_stored_ones(momentum):
    task, weights, network = read("convolutional")
    x, mine = task.train.inputs.double(), doubled(weights)
    net = task.factory().double().train()
    net.load_state_dict(mine)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    moved = {name: tensor.clone() for name, tensor in mine.items()}
    (outputs,) = Stretch(network, 0).run(moved, {INPUT: x}, momentum).values()
    torch.testing.assert_close(outputs, net(x).detach())
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(moved[name], net.state_dict()[name])
        assert not moved[name].equal(mine[name])


def test_values_at_the_end_are_all_that_is_handed_back_and_what_was_given_stays():
    _, weights, network = read("residual")
    for cut, until in itertools.pairwise(range(len(network.cuts))):
        values = {name: torch.zeros(2, *shape_of(network, name)) for name in network.cuts[cut].values}
        assert tuple(Stretch(network, cut, until).run(weights, values)) == network.cuts[until].values
        assert tuple(values) == network.cuts[cut].values  # the caller's own mapping is left as it was


def shape_of(network, name):
    shapes = {INPUT: network.program.shapes[INPUT], **{step.name: step.shape for step in network.program.steps}}
    return shapes[name]
