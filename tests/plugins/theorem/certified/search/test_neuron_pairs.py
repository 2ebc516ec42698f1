"""Outputs passed on in pairs of neurons, for each activation, against the affine map itself."""

import pytest
import torch
from certified_parts import doubled, half, read
from small_networks import CLASSES, image_task, vector_task
from torch import nn

from connectivity_hooks.structure import read_program
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.search.neuron_pairs import first_passable, pair_gain, passed_on
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer

GAINS = {
    nn.ReLU: 1.0,
    nn.GELU: 1.0,
    nn.SiLU: 1.0,
    nn.Hardswish: 1.0,
    nn.Softplus: 1.0,
    nn.LeakyReLU: 1.01,
    nn.Tanh: None,
    nn.Sigmoid: None,
    nn.ELU: None,
    nn.ReLU6: None,
}
PASSING = [kind for kind, gain in GAINS.items() if gain is not None]


@pytest.mark.parametrize("activation", GAINS, ids=lambda kind: kind.__name__)
def test_pairs_of_neurons_pass_values_where_the_odd_part_is_linear(activation):
    program = read_program(nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2)), torch.randn(2, 3))
    steps = [step for step in program.steps if step.kind == "activation"]
    gain = pair_gain(steps)
    assert gain == (None if GAINS[activation] is None else pytest.approx(GAINS[activation], rel=1e-6))
    if gain is not None:
        z = 30 * torch.randn(1000, 1, dtype=torch.float64)
        torch.testing.assert_close((activation()(z) - activation()(-z)) / gain, z)


def test_activations_in_turn_are_one():
    net = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.5), nn.LeakyReLU(0.1), nn.Linear(4, 2))
    steps = [step for step in read_program(net, torch.randn(2, 3)).steps if step.kind == "activation"]
    assert pair_gain(steps) == pytest.approx(1 + 0.5 * 0.1)
    assert pair_gain([]) == pytest.approx(2)  # nothing between: z - (-z)


def normed(activation, bias):
    """Two hidden layers behind the first, with a norm: pairs have to pass through both."""
    return nn.Sequential(
        nn.Linear(10, 14, bias=bias),
        activation(),
        nn.Linear(14, 15, bias=bias),
        nn.BatchNorm1d(15),
        activation(),
        nn.Dropout(0.3),
        nn.Linear(15, 16, bias=bias),
        activation(),
        nn.Linear(16, CLASSES, bias=bias),
    )


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", PASSING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_layers_outputs_come_out_at_the_end(activation, bias, cut):
    task = vector_task(lambda: normed(activation, bias))
    like = doubled(task.model().state_dict())
    network = read_task(task.model().state_dict(), task)
    assert first_passable(network) == 1
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(CLASSES, 5, generator=generator, dtype=torch.float64)
    offset = torch.randn(CLASSES, generator=generator, dtype=torch.float64) if bias else None
    output = OutputLayer(weight, offset)
    narrow = passed_on({"kept": weight}, output, Stretch(network, cut), like)
    assert narrow.pop("kept") is weight
    (found,) = Stretch(network, cut).run(narrow, {network.cuts[cut].values[0]: features}).values()
    wanted = features @ weight.T + (0 if offset is None else offset)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_a_flattened_map_is_read_by_pairs_as_well():
    _, weights, network = read("convolutional")
    cut, neurons = first_passable(network), half(network)
    assert cut == 2  # in front of the hidden layer that reads the flattened map
    width = 4 * len(neurons[network.cut_spaces(cut)[0]])
    features = torch.randn(20, width, dtype=torch.float64)
    output = OutputLayer(torch.randn(CLASSES, width, dtype=torch.float64), torch.ones(CLASSES, dtype=torch.float64))
    narrow = passed_on({}, output, Stretch(network, cut), doubled(weights))
    (found,) = Stretch(network, cut).run(narrow, {network.cuts[cut].values[0]: features}).values()
    torch.testing.assert_close(found, features @ output.weight.T + 1)


def test_a_convolution_over_all_its_input_is_passed_like_a_linear_map():
    def tail():
        return nn.Sequential(
            nn.Conv2d(2, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 10, 6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(10, CLASSES),
        )

    task = image_task(tail)
    weights = task.model().state_dict()
    network = read_task(weights, task)
    assert first_passable(network) == 1
    features = torch.randn(20, 3, 6, 6, dtype=torch.float64)
    output = OutputLayer(torch.randn(CLASSES, 108, dtype=torch.float64), None)
    narrow = passed_on({}, output, Stretch(network, 1), doubled(weights))
    (found,) = Stretch(network, 1).run(narrow, {network.cuts[1].values[0]: features}).values()
    torch.testing.assert_close(found, features.flatten(1) @ output.weight.T)


def chain(*activations):
    layers = [layer for activation in activations for layer in (nn.Linear(10, 10), activation())]
    return nn.Sequential(*layers, nn.Linear(10, CLASSES))


@pytest.mark.parametrize(
    ("activations", "first"),
    [
        ((nn.Tanh, nn.Tanh, nn.Tanh), 3),
        ((nn.ReLU, nn.ReLU, nn.Tanh), 3),
        ((nn.ReLU, nn.Tanh, nn.ReLU), 2),
        ((nn.Tanh, nn.GELU, nn.ReLU), 1),
    ],
)
def test_outputs_pass_from_the_first_cut_behind_which_all_activations_let_them(activations, first):
    task = vector_task(lambda: chain(*activations))
    assert first_passable(read_task(task.model().state_dict(), task)) == first


@pytest.mark.parametrize("case", ["residual", "grouped"])
def test_sums_and_maps_are_passed_by_nothing(case):
    _, _, network = read(case)
    assert first_passable(network) == len(network.cuts) - 1
