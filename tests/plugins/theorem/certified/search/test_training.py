"""Training a sub-network against a plain loop over a plain module, in float64."""

from dataclasses import replace

import pytest
import torch
from certified_parts import doubled, half, read
from small_networks import CLASSES
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks.tasks import LOSSES
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import restricted
from connectivity_hooks_theorem.certified.search.features import Held
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.initial_weights import fresh_weights
from connectivity_hooks_theorem.certified.search.training import settle_norms, train
from connectivity_hooks_theorem.certified.search.training_schedule import TrainingSchedule

SCHEDULE = TrainingSchedule(7, steps=1, flat=(1e-2, 0.1))
T = 4


def begun(case, cut, until):
    """Return the features of one end at a cut in float64, and a fresh sub-network on them."""
    task, weights, network = read(case)
    neurons, stretch = half(network), Stretch(network, cut, until)
    values = Stretch(network, 0, cut).run(doubled(weights), {INPUT: task.train.inputs.double()})
    features = Held(network, restricted(network, values, neurons))
    draft = fresh_weights(stretch, doubled(weights), neurons, features.head, torch.Generator().manual_seed(0))
    return task, features, stretch, draft


def plain(draft):
    """Return an MLP that begins with a draft's weights."""
    layers = []
    for number in (3, 5):
        linear = nn.Linear(*reversed(draft.weights[f"{number}.weight"].shape)).double()
        linear.load_state_dict({role: draft.weights[f"{number}.{role}"] for role in ("weight", "bias")})
        layers += [linear, nn.ReLU()]
    last = nn.Linear(*reversed(draft.output.weight.shape)).double()
    last.load_state_dict({"weight": draft.output.weight, "bias": draft.output.bias})
    return nn.Sequential(*layers, last)


def loop(net, x, objective):
    """Train as the schedule says, by PyTorch alone; `objective` takes outputs, indices, and the epoch."""
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 1e-2)
    steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=7 * 8)
    generator = torch.Generator().manual_seed(5)
    for epoch in range(7):
        for batch in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            objective(net(x[batch]), batch, epoch).backward()
            optimizer.step()
            steps.step()


def both(goal_of, objective_of):
    """Return outputs on all features, after the builder's training and after the loop's."""
    task, features, stretch, draft = begun("mlp", 1, 3)
    x = features.whole()
    net, given = plain(draft), {name: tensor.clone() for name, tensor in draft.weights.items()}
    trained = train(draft, stretch, features, goal_of(task), SCHEDULE, torch.Generator().manual_seed(5))
    loop(net, x, objective_of(task))
    assert all(draft.weights[name].equal(given[name]) for name in given)
    assert not any(tensor.requires_grad for tensor in trained.weights.values())
    (values,) = features.batches(len(x))
    return trained.outputs(stretch, values), net(x).detach()


def wished(task):
    return torch.randn(len(task.train), CLASSES, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_a_squared_loss_is_minimised_as_it_is():
    found, expected = both(
        lambda task: Goal(wished(task), LOSSES["mse"], CLASSES, None, 0.0),
        lambda task: lambda outputs, batch, _: F.mse_loss(outputs, wished(task)[batch]),
    )
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_a_classifier_learns_softened_outputs_and_the_labels_towards_the_end():
    def objective_of(task):
        labels, outputs = task.train.targets(), wished(task)

        def objective(found, batch, epoch):
            value = F.cross_entropy(found / T, (outputs[batch] / T).softmax(1)) * T**2
            return value + T * F.cross_entropy(found, labels[batch]) if epoch >= 0.85 * 7 else value

        return objective

    found, expected = both(
        lambda task: Goal(task.train.targets(), LOSSES["cross-entropy"], CLASSES, wished(task), 0.0), objective_of
    )
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_labels_stay_out_where_the_goal_is_reached():
    def objective_of(task):
        outputs = wished(task)
        return lambda found, batch, _: F.cross_entropy(found / T, (outputs[batch] / T).softmax(1)) * T**2

    found, expected = both(
        lambda task: Goal(task.train.targets(), LOSSES["cross-entropy"], CLASSES, wished(task), 100.0), objective_of
    )
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_a_classifier_without_outputs_learns_the_labels():
    found, expected = both(
        lambda task: Goal(task.train.targets(), LOSSES["cross-entropy"], CLASSES, None, 0.0),
        lambda task: lambda outputs, batch, _: F.cross_entropy(outputs, task.train.targets()[batch]),
    )
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_norms_have_the_mean_statistics_of_all_batches():
    _, features, stretch, draft = begun("convolutional", 0, 1)
    settle_norms(draft.weights, stretch, features, 60)
    x = next(iter(features.batches(features.count)))[INPUT]
    maps = F.conv2d(x, draft.weights["0.weight"], draft.weights["0.bias"])
    parts = [part.transpose(0, 1).flatten(1) for part in maps.split(60)]
    mean = torch.stack([part.mean(1) for part in parts]).mean(0)
    var = torch.stack([part.var(1) for part in parts]).mean(0)
    torch.testing.assert_close(draft.weights["1.running_mean"], mean)
    torch.testing.assert_close(draft.weights["1.running_var"], var)


def test_statistics_are_measured_and_never_trained():
    task, features, stretch, draft = begun("convolutional", 0, 2)
    goal = Goal(task.train.targets(), LOSSES["cross-entropy"], CLASSES, None, 0.0)
    schedule = replace(SCHEDULE, epochs=1)
    trained = train(draft, stretch, features, goal, schedule, torch.Generator().manual_seed(5))
    measured = {name: tensor.clone() for name, tensor in trained.weights.items()}
    settle_norms(measured, stretch, features, schedule.batch_size(features))
    for name, tensor in trained.weights.items():
        torch.testing.assert_close(tensor, measured[name], rtol=1e-12, atol=0)
        assert not tensor.equal(draft.weights[name])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_samples_is_the_generators(seed):
    task, features, stretch, draft = begun("mlp", 1, 2)
    goal = Goal(task.train.targets(), LOSSES["cross-entropy"], CLASSES, None, 0.0)
    state = torch.get_rng_state()
    one, two = (
        train(draft, stretch, features, goal, replace(SCHEDULE, epochs=1), torch.Generator().manual_seed(other))
        for other in (0, seed)
    )
    assert torch.get_rng_state().equal(state)
    assert one.weights["3.weight"].equal(two.weights["3.weight"]) == (seed == 0)
