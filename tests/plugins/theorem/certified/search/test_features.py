"""Features in memory, rounded, and computed again: the same samples, and the same numbers where these are exact."""

from dataclasses import replace

import pytest
import torch
from live_memory import LiveMemory
from small_networks import (
    CLASSES,
    N,
    assert_proven,
    certified,
    exact,
    image_task,
    mlp,
    trained,
    vector_task,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from connectivity_hooks.tasks.split import CachedSplit
from connectivity_hooks.tasks.streamed import StreamedSplit
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.search.features import (
    OUTPUTS,
    Augmented,
    Held,
    Recomputed,
    Source,
    features_at,
)

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
    neurons = Sides.of(net.spaces, random_orders(net.spaces, 0)).neurons(CUT, 0)
    return task, net, weights, neurons


def expected(weights, neurons, space, x):
    first = torch.relu(nn.functional.conv2d(x, weights["0.weight"], weights["0.bias"]))
    second = torch.relu(nn.functional.conv2d(first, weights["2.weight"], weights["2.bias"]))
    return second.flatten(1)[:, torch.cat([torch.arange(16) + 16 * neuron for neuron in neurons[space]])]


def of(read, budget, split=None):
    task, net, weights, neurons = read
    return features_at(Source(net, weights, CUT, neurons), split or task.train, 50, budget)


BUDGETS = {"held": (10**9, 0.0), "rounded": (N * 48 * 2, 2**-8), "computed again": (10, 0.0)}


@pytest.mark.parametrize("case", BUDGETS)
def test_every_budget_gives_the_same_samples_in_every_order(case, read):
    task, net, weights, neurons = read
    budget, rounding = BUDGETS[case]
    features = of(read, budget)
    assert isinstance(features, Held if case == "held" else Recomputed)
    wanted = expected(weights, neurons, net.cut_spaces(CUT)[0], task.train.inputs)
    in_order = torch.cat([value for values in features.batches(70) for value in values.values()])
    torch.testing.assert_close(in_order, wanted)
    drawn = list(features.shuffled(64, torch.Generator().manual_seed(1)))
    order = torch.cat([chosen for chosen, _ in drawn])
    assert order.sort().values.equal(torch.arange(N))
    assert not order.equal(torch.arange(N))
    shuffled = torch.cat([value for _, values in drawn for value in values.values()])
    torch.testing.assert_close(shuffled, wanted[order], rtol=rounding + 1e-5, atol=1e-5)


def test_a_loader_too_large_for_memory_is_gone_through_in_its_own_order(read):
    task, net, weights, neurons = read
    loader = DataLoader(TensorDataset(task.train.inputs, task.train.targets()), batch_size=60)
    split = StreamedSplit("train", loader, torch.device("cpu"), torch.float32)
    drawn = list(of(read, 10, split).shuffled(20, torch.Generator().manual_seed(1)))
    order = torch.cat([chosen for chosen, _ in drawn])
    assert (order // 60).equal(torch.arange(N) // 60)
    assert not order.equal(torch.arange(N))
    shuffled = torch.cat([value for _, values in drawn for value in values.values()])
    wanted = expected(weights, neurons, net.cut_spaces(CUT)[0], task.train.inputs)
    torch.testing.assert_close(shuffled, wanted[order])


def test_augmented_features_are_those_of_augmented_samples_and_measured_on_plain_ones(read):
    task, net, weights, neurons = read
    features = Augmented(Source(net, weights, CUT, neurons), task.train, 50, lambda x: x.flip(3), imitate=True)
    mirrored, space = task.train.inputs.flip(3), net.cut_spaces(CUT)[0]
    for chosen, values in features.shuffled(64, torch.Generator().manual_seed(1)):
        outputs = values.pop(OUTPUTS)
        (kept,) = values.values()
        torch.testing.assert_close(kept, expected(weights, neurons, space, mirrored[chosen]))
        same = CachedSplit("train", mirrored[chosen], task.train.targets()[chosen])
        torch.testing.assert_close(outputs.double(), exact(task, weights, same)[0], rtol=1e-4, atol=1e-5)
    in_order = torch.cat([value for values in features.batches(70) for value in values.values()])
    torch.testing.assert_close(in_order, expected(weights, neurons, space, task.train.inputs))


def test_sub_networks_learn_from_augmented_samples_and_the_bound_holds_on_plain_ones():
    seen = []

    def noisy(x):
        seen.append(len(x))
        return x + 0.1 * torch.randn(x.shape)

    task = image_task(network)
    ends, state = [trained(task, seed) for seed in (1, 2)], torch.get_rng_state()
    plain = certified(effort="quick").build(*ends, task)
    first, again = (certified(effort="quick").build(*ends, replace(task, augment=noisy)) for _ in range(2))
    assert torch.get_rng_state().equal(state)
    assert sum(seen) >= 2 * 2 * 5 * N
    assert_proven(task, first, tolerance=1e-6)
    middle = [path(0.5)["2.weight"] for path in (first, again, plain)]
    assert middle[0].equal(middle[1])
    assert not middle[0].equal(middle[2])


def test_a_path_built_within_a_tiny_memory_is_proven_as_well():
    task = image_task(network)
    path = certified(effort="quick", memory=1e-6).build(trained(task, 1), trained(task, 2), task)
    assert_proven(task, path, tolerance=1e-6)


def test_flat_layers_take_the_memory_of_two_at_most_and_some_outputs():
    samples, width = 12000, 64
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 10, generator=generator)
    y = (x @ torch.randn(10, CLASSES, generator=generator)).argmax(1)
    small = vector_task(lambda: mlp(width, width, width, width))
    ends = [trained(small, seed) for seed in (1, 2)]
    task = replace(small, train=CachedSplit("train", x, y))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one end after the other
    try:
        with LiveMemory() as live:
            certified(effort="quick").build(*ends, task)
    finally:
        torch.set_num_threads(threads)
    assert live.peak <= 4 * samples * (2 * width + 20 * CLASSES)
