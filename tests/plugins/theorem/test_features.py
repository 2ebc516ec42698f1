"""Features in memory, rounded, and computed again: the same samples, and the same numbers where these are exact."""

import pytest
import torch
from small_networks import CLASSES, N, assert_proven, certified, image_task, trained
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from connectivity_hooks.tasks.split import StreamedSplit
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.features import Held, Recomputed, features_at
from connectivity_hooks_theorem.certified.slots import Sides, live_widths, random_orders

CUT = 2


def network():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, CLASSES)
    )


@pytest.fixture
def read():
    task = image_task(network)
    weights = trained(task, 1, steps=5)
    net = read_task(weights, task)
    slots = Sides.of(net.spaces, random_orders(net.spaces, 0), live_widths(net)).slots(CUT, 0)
    return task, net, weights, slots


def expected(weights, slots, space, x):
    first = torch.relu(nn.functional.conv2d(x, weights["0.weight"], weights["0.bias"]))
    second = torch.relu(nn.functional.conv2d(first, weights["2.weight"], weights["2.bias"]))
    return second.flatten(1)[:, torch.cat([torch.arange(16) + 16 * neuron for neuron in slots[space]])]


def of(read, budget, split=None):
    task, net, weights, slots = read
    return features_at(net, weights, split or task.train, CUT, slots, 50, budget)


BUDGETS = {"held": (10**9, 0.0), "rounded": (N * 48 * 2, 2**-8), "computed again": (10, 0.0)}


@pytest.mark.parametrize("case", BUDGETS)
def test_every_budget_gives_the_same_samples_in_every_order(case, read):
    task, net, weights, slots = read
    budget, rounding = BUDGETS[case]
    features = of(read, budget)
    assert isinstance(features, Held if case == "held" else Recomputed)
    wanted = expected(weights, slots, net.cut_spaces(CUT)[0], task.train.inputs)
    in_order = torch.cat([value for values in features.batches(70) for value in values.values()])
    torch.testing.assert_close(in_order, wanted)
    drawn = list(features.shuffled(64, torch.Generator().manual_seed(1)))
    order = torch.cat([chosen for chosen, _ in drawn])
    assert order.sort().values.equal(torch.arange(N))
    assert not order.equal(torch.arange(N))
    shuffled = torch.cat([value for _, values in drawn for value in values.values()])
    torch.testing.assert_close(shuffled, wanted[order], rtol=rounding + 1e-5, atol=1e-5)


def test_a_loader_too_large_for_memory_is_gone_through_in_its_own_order(read):
    task, net, weights, slots = read
    loader = DataLoader(TensorDataset(task.train.inputs, task.train.targets()), batch_size=60)
    split = StreamedSplit("train", loader, torch.device("cpu"), torch.float32)
    drawn = list(of(read, 10, split).shuffled(20, torch.Generator().manual_seed(1)))
    order = torch.cat([chosen for chosen, _ in drawn])
    assert (order // 60).equal(torch.arange(N) // 60)
    assert not order.equal(torch.arange(N))
    shuffled = torch.cat([value for _, values in drawn for value in values.values()])
    wanted = expected(weights, slots, net.cut_spaces(CUT)[0], task.train.inputs)
    torch.testing.assert_close(shuffled, wanted[order])


def test_a_path_built_within_a_tiny_memory_is_proven_as_well():
    task = image_task(network)
    path = certified(effort="quick", memory=1e-6).build(trained(task, 1), trained(task, 2), task)
    assert_proven(task, path, tolerance=1e-6)
