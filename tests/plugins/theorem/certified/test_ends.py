"""One end, run over the training split once."""

from dataclasses import replace

import pytest
import torch
from certified_parts import NETWORKS, read
from small_networks import exact
from torch.nn.functional import cross_entropy

from connectivity_hooks.errors import InputError
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.search.importance import Importance


@pytest.mark.parametrize("case", NETWORKS)
def test_outputs_and_loss_are_the_modules(case):
    task, weights, network = read(case)
    end = read_end(network, weights, task, "A")
    outputs, loss = exact(task, weights, task.train)
    torch.testing.assert_close(end.outputs.double(), outputs, rtol=1e-4, atol=1e-5)
    assert end.loss == pytest.approx(loss, rel=1e-5)
    assert end.loss == pytest.approx(float(cross_entropy(outputs, task.train.targets())), rel=1e-5)
    assert end.targets.equal(task.train.targets())
    assert end.weights is weights
    assert end.importance == {}


class Noted(Importance):
    """Notes what it is given."""

    def __init__(self, network):
        super().__init__(network)
        self.seen = []

    def add(self, values, outputs):
        self.seen.append((values, outputs))

    def shares(self, weights):
        return {}


@pytest.mark.parametrize("case", NETWORKS)
def test_every_batch_is_shown_at_every_cut_with_its_outputs(case):
    task, weights, network = read(case)
    noted = Noted(network)
    end = read_end(network, weights, task, "A", noted)
    assert [len(outputs) for _, outputs in noted.seen] == [100, 100, 40]
    assert torch.cat([outputs for _, outputs in noted.seen]).equal(end.outputs)
    for values, _ in noted.seen:
        assert [tuple(at) for at in values] == [cut.values for cut in network.cuts[1:]]


def test_sub_networks_learn_outputs_or_targets_and_aim_below_the_target():
    task, weights, network = read("mlp")
    end = read_end(network, weights, task, "A")
    imitating, learning = (end.goal(0.5, imitate=imitate) for imitate in (True, False))
    assert imitating.outputs is end.outputs
    assert learning.outputs is None
    assert imitating.target == learning.target == 0.49
    assert (imitating.classes, imitating.loss) == (3, task.loss)


def test_weights_are_computed_with_in_the_tasks_type():
    task, weights, network = read("convolutional")
    there = replace(task, dtype=torch.float64, train=task.train.to(task.device, torch.float64))
    end = read_end(network, weights, there, "A")
    assert end.weights["0.weight"].dtype == torch.float32
    assert end.on_device["0.weight"].dtype == end.outputs.dtype == torch.float64
    assert end.on_device["1.num_batches_tracked"].dtype == torch.int64
    assert end.loss == pytest.approx(exact(task, weights, task.train)[1], rel=1e-12)


@pytest.mark.parametrize("layer", ["1", "3", "5"])
def test_a_silent_layer_is_named(layer):
    task, weights, network = read("mlp")
    weights[f"{layer}.weight"].zero_()
    weights[f"{layer}.bias"].fill_(-1)
    with pytest.raises(InputError, match=rf"end B: every neuron of {layer}\.weight is silent for every sample"):
        read_end(network, weights, task, "B")
