"""Initial weights: drawn as by He et al., or those of a later sub-network fed by the end's own layers."""

import pytest
import torch
from certified_parts import doubled, half, read
from small_networks import CLASSES, exact, image_task, mlp, vector_task
from torch import nn

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.blocks import narrow_blocks
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.network.values import restricted
from connectivity_hooks_theorem.certified.search.initial_weights import fresh_weights, warm_weights


def features_at(network, weights, x, cut, neurons):
    return restricted(network, Stretch(network, 0, cut).run(weights, {INPUT: x}), neurons)


def drawn(network, weights, values, stretch, neurons, seed=0):
    return fresh_weights(stretch, weights, neurons, values, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", ["mlp", "convolutional", "grouped", "residual"])
def test_fresh_weights_run_on_the_features_and_give_outputs_for_every_class(case):
    task, weights, network = read(case)
    neurons, stretch = half(network), Stretch(network, 1, len(network.cuts) - 1)
    values = features_at(network, weights, task.train.inputs, 1, neurons)
    draft = drawn(network, weights, values, stretch, neurons)
    assert draft.outputs(stretch, values).shape == (len(task.train), CLASSES)
    named = {name for layer in stretch.layers for name in layer.step.weights.values()}
    assert draft.weights.keys() == named
    for layer in stretch.layers:
        rows = len(neurons[layer.rows.space]) * layer.rows.spread
        assert all(len(draft.weights[name]) == rows for name in layer.step.weights.values())


def test_fresh_weights_are_drawn_as_by_he_on_features_of_any_scale():
    task = vector_task(lambda: mlp(400, 402, 404))
    weights = task.model().state_dict()
    network = read_task(weights, task)
    neurons, stretch = half(network), Stretch(network, 1, 3)
    values = features_at(network, weights, task.train.inputs, 1, neurons)
    large = {name: 1000 * value for name, value in values.items()}
    root = float(next(iter(large.values())).double().square().mean().sqrt())
    plain, scaled = (drawn(network, weights, each, stretch, neurons) for each in (values, large))
    assert float(plain.weights["5.weight"].double().std()) == pytest.approx((2 / 201) ** 0.5, rel=0.02)
    assert float(scaled.weights["3.weight"].double().std()) == pytest.approx((2 / 200) ** 0.5 / root, rel=0.02)
    torch.testing.assert_close(1000 * scaled.weights["3.weight"], plain.weights["3.weight"])
    assert scaled.weights["5.weight"].equal(plain.weights["5.weight"])
    assert not scaled.weights["3.bias"].any()
    torch.testing.assert_close(scaled.outputs(stretch, large), plain.outputs(stretch, values))
    spread = float(scaled.outputs(stretch, large).double().std())
    assert 0.1 < spread < 10


def test_fresh_norms_change_nothing():
    task, weights, network = read("convolutional")
    neurons, stretch = half(network), Stretch(network, 0, 1)
    draft = drawn(network, weights, {INPUT: task.train.inputs}, stretch, neurons)
    plain = {"1.weight": 1, "1.bias": 0, "1.running_mean": 0, "1.running_var": 1, "0.bias": 0}
    assert {name: draft.weights[name].tolist() for name in plain} == {
        name: 4 * [value] for name, value in plain.items()
    }


def test_an_output_layer_that_is_no_linear_map_of_all_it_reads_is_drawn_among_the_layers():
    task = image_task(
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    )
    weights = task.model().state_dict()
    network = read_task(weights, task)
    neurons, stretch = half(network), Stretch(network, 1, 1)
    values = features_at(network, weights, task.train.inputs, 1, neurons)
    draft = drawn(network, weights, values, stretch, neurons)
    assert draft.output is None
    assert draft.weights["2.weight"].shape == (CLASSES, 4, 1, 1)
    assert draft.outputs(stretch, values).shape == (len(task.train), CLASSES)
    started = warm_weights(draft, stretch, weights, neurons, later(network, weights, neurons, 1))
    assert started.weights["2.weight"].equal(weights["2.weight"][:, neurons[network.cut_spaces(1)[0]]])


def later(network, weights, neurons, cut):
    """Return the end's own layers behind a cut as a sub-network on some neurons."""
    narrow = narrow_blocks(weights, Stretch(network, cut).layers, neurons, neurons)
    return Subnetwork(cut, neurons, narrow, len(network.cuts) - 1 - cut, 0.0, None)


def test_a_warm_start_is_the_later_sub_network_fed_by_what_is_left_of_the_ends_layer():
    task, weights, network = read("mlp")
    mine, theirs, weights = half(network, seed=3), half(network, subnetwork=2, seed=3), doubled(weights)
    x, stretch, above = task.train.inputs.double(), Stretch(network, 1, 3), later(network, weights, theirs, 2)
    values = features_at(network, weights, x, 1, mine)
    draft = drawn(network, weights, values, stretch, mine)
    warm = warm_weights(draft, stretch, weights, mine, above)

    kept = [mine[network.cut_spaces(1)[0]], *(theirs[network.cut_spaces(cut)[0]] for cut in (2, 3))]
    hidden = torch.relu(x @ weights["1.weight"].T + weights["1.bias"])[:, kept[0]]
    hidden = torch.relu(hidden @ weights["3.weight"][kept[1]][:, kept[0]].T + weights["3.bias"][kept[1]])
    hidden = torch.relu(hidden @ weights["5.weight"][kept[2]][:, kept[1]].T + weights["5.bias"][kept[2]])
    wanted = hidden @ weights["7.weight"][:, kept[2]].T + weights["7.bias"]
    torch.testing.assert_close(warm.outputs(stretch, values), wanted)
    assert not draft.outputs(stretch, values).allclose(wanted)


def test_a_warm_start_that_keeps_everything_is_the_end_itself():
    task, weights, network = read("convolutional")
    every = {number: torch.arange(space.width) for number, space in enumerate(network.spaces)}
    weights, x = doubled(weights), task.train.inputs.double()
    values, stretch = features_at(network, weights, x, 1, every), Stretch(network, 1, 3)
    draft = drawn(network, weights, values, stretch, every)
    warm = warm_weights(draft, stretch, weights, every, later(network, weights, every, 2))
    torch.testing.assert_close(warm.outputs(stretch, values), exact(task, weights, task.train)[0])


def test_neurons_that_the_later_sub_network_lacks_stay_fresh_and_are_read_by_none_of_its():
    task, weights, network = read("mlp")
    mine, few = half(network), {number: neurons[:4] for number, neurons in half(network, 2).items()}
    few |= {number: torch.arange(space.width) for number, space in enumerate(network.spaces) if space.whole}
    values, stretch = features_at(network, weights, task.train.inputs, 1, mine), Stretch(network, 1, 3)
    draft = drawn(network, weights, values, stretch, mine)
    warm = warm_weights(draft, stretch, weights, mine, later(network, weights, few, 2))
    assert warm.weights["5.weight"].shape == (7, 6)
    assert not warm.weights["5.weight"][:4, 4:].any()
    assert warm.weights["5.weight"][4:].equal(draft.weights["5.weight"][4:])
    assert not warm.output.weight[:, 4:].any()
