"""Narrow weights against the whole network with the other neurons masked, and against removing neurons one by one."""

import pytest
import torch
from certified_parts import NETWORKS, doubled, half, keeping, read
from small_networks import exact, trained

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.network.blocks import (
    clear_unread,
    narrow_blocks,
    neurons_read,
    write_blocks,
)
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import restricted


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_narrow_network_is_the_whole_one_with_the_others_masked(case, cut):
    task, weights, network = read(case)
    neurons, later = half(network), Stretch(network, cut).layers
    narrow = narrow_blocks(doubled(weights), later, neurons, neurons)
    features = Stretch(network, 0, cut).run(doubled(weights), {INPUT: task.train.inputs.double()})
    (found,) = Stretch(network, cut).run(narrow, restricted(network, features, neurons)).values()
    masked = keeping(weights, network, neurons, later)
    torch.testing.assert_close(found, exact(task, masked, task.train)[0])
    assert any(narrow[name].shape != weights[name].shape for name in narrow)


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_what_is_written_computes_what_it_computed_wherever_it_is_written(case, cut):
    task, weights, network = read(case)
    other = trained(task, 2, steps=5)
    mine, theirs = half(network), half(network, seed=7)
    later = Stretch(network, cut).layers
    narrow = narrow_blocks(weights, later, mine, mine)
    before = {name: tensor.clone() for name, tensor in other.items()}
    written = dict(other)
    write_blocks(written, narrow, later, theirs)
    assert all(other[name].equal(before[name]) for name in before)  # tensors are replaced, never written to
    features = Stretch(network, 0, cut).run(doubled(other), {INPUT: task.train.inputs.double()})
    (found,) = Stretch(network, cut).run(doubled(narrow), restricted(network, features, theirs)).values()
    torch.testing.assert_close(found, exact(task, written, task.train)[0])
    for layer in later:
        left = torch.ones(network.spaces[layer.rows.space].width, dtype=torch.bool)
        left[theirs[layer.rows.space]] = False
        rows = left.repeat_interleave(layer.rows.spread)
        for name in layer.step.weights.values():
            assert written[name][rows].equal(other[name][rows])


@pytest.mark.parametrize("case", NETWORKS)
def test_a_block_has_the_rows_of_some_neurons_and_the_columns_of_others(case):
    _, weights, network = read(case)
    rows, cols = half(network, seed=1), half(network, seed=2)
    blocks = narrow_blocks(weights, network.layers, rows, cols)
    for layer in network.layers:
        for role, name in layer.step.weights.items():
            wanted = weights[name].unflatten(0, (network.spaces[layer.rows.space].width, -1))[rows[layer.rows.space]]
            wanted = wanted.flatten(0, 1)
            if role == "weight" and layer.cols is not None:
                wide = wanted.unflatten(1, (network.spaces[layer.cols.space].width, -1))
                wanted = wide[:, cols[layer.cols.space]].flatten(1, 2)
            assert blocks[name].equal(wanted)


def test_a_block_that_is_narrower_takes_the_first_neurons():
    _, weights, network = read("mlp")
    neurons = half(network)
    layer = network.layers[1]
    narrow = {"3.weight": torch.full((2, 3), 7.0), "3.bias": torch.full((2,), 5.0)}
    written = dict(weights)
    write_blocks(written, narrow, [layer], neurons)
    rows, cols = neurons[layer.rows.space][:2], neurons[layer.cols.space][:3]
    wanted = torch.zeros(2, 12)
    wanted[:, cols] = 7
    assert written["3.weight"][rows].equal(wanted)
    assert written["3.bias"][rows].tolist() == [5, 5]
    assert written["3.weight"][neurons[layer.rows.space][2:]].equal(weights["3.weight"][neurons[layer.rows.space][2:]])


def pruned(case):
    """Return a network in which some neurons are read by nobody, of whom some read others that nobody else does."""
    task, weights, network = read(case)
    for layer in network.layers:
        if layer.cols is not None and not network.spaces[layer.cols.space].whole:
            entries = layer.cols.entries(torch.tensor([0, 3]))
            weights[layer.step.weights["weight"]][:, entries] = 0
    return task, weights, network


@pytest.mark.parametrize("case", NETWORKS)
def test_the_neurons_that_are_read_are_those_whose_weights_matter(case):
    task, weights, network = pruned(case)
    before = exact(task, weights, task.train)[0]
    for layer in Stretch(network, 0).hidden:
        if layer.cols is None:
            continue
        mask, width = neurons_read(weights, network)[layer.step.name], network.spaces[layer.rows.space].width
        for neuron in range(width):
            changed = {name: tensor.clone() for name, tensor in weights.items()}
            for name in layer.step.weights.values():
                changed[name][layer.rows.entries(torch.tensor([neuron]))] += 3
            same = torch.allclose(exact(task, changed, task.train)[0], before, rtol=0, atol=1e-12)
            assert same != bool(mask[neuron]), (layer.step.weights, neuron)
        assert 0 < int(mask.sum()) < width


@pytest.mark.parametrize("case", NETWORKS)
def test_silencing_neurons_that_are_not_read_changes_nothing(case):
    task, weights, network = pruned(case)
    before, given = exact(task, weights, task.train)[0], dict(weights)
    clear_unread(weights, network)
    torch.testing.assert_close(exact(task, weights, task.train)[0], before, rtol=0, atol=1e-12)
    assert any(not weights[name].equal(given[name]) for name in weights)
    unread = {name: ~mask for name, mask in neurons_read(weights, network).items()}
    for layer in network.layers:
        rows = layer.rows.entries(unread[layer.step.name].nonzero().flatten())
        for role, name in layer.step.weights.items():
            assert weights[name][rows].eq(1 if role == "var" else 0).all()


def test_the_masks_of_a_pruned_chain_are_those_one_reads_off():
    _, weights, network = read("mlp")
    weights["3.weight"][:, 5] = 0
    weights["5.weight"][:, 2] = 0
    weights["7.weight"][:, 9] = 0
    read_masks = neurons_read(weights, network)
    names = {layer.step.weights["weight"]: read_masks[layer.step.name] for layer in network.layers}
    assert {key: (~mask).nonzero().flatten().tolist() for key, mask in names.items()} == {
        "1.weight": [5],
        "3.weight": [2],
        "5.weight": [9],
        "7.weight": [],
    }
