"""Sub-networks of the free width, and what is proven about memorisation."""

from dataclasses import replace

import pytest
import torch
from small_networks import mlp, trained, vector_task

import connectivity_hooks as ch
from connectivity_hooks.tasks import LOSSES, CachedSplit
from connectivity_hooks_theorem.conditions.genericity import closest, collisions
from connectivity_hooks_theorem.conditions.memorization import fitting_samples
from connectivity_hooks_theorem.probes.logistic import fit_logistic
from connectivity_hooks_theorem.probes.networks import fit_networks


@pytest.fixture(scope="module")
def setting():
    task = vector_task(lambda: mlp(24, 25, 26))
    model = task.model()
    model.load_state_dict(trained(task, 1))
    return task, model


def test_a_trained_network_has_sub_networks_where_dropout_fails(setting):
    task, model = setting
    options = {"epochs": 120}
    found = ch.check(model, task, "subnetwork", options=options)
    assert [verdict.details["hidden"] for verdict in found] == ["13 13", "13", ""]
    assert all(verdict.holds for verdict in found), [verdict.measured for verdict in found]
    dropped = ch.check(model, task, "dropout-stability")
    assert sum(d.measured > s.measured for d, s in zip(dropped, found, strict=True)) >= 2


def test_labels_that_mean_nothing_have_no_small_sub_network(setting):
    task, model = setting
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (len(task.train),), generator=generator)
    shuffled = replace(task, train=CachedSplit("train", task.train.inputs, labels))
    found = ch.check(model, shuffled, "subnetwork", options={"epochs": 5, "epsilon": 0}, layers=["2"])
    assert found[0].details["loss"] > 0.5


def test_without_hidden_layers_training_comes_close_to_logistic_regression():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 6, generator=generator)
    labels = (features @ torch.randn(6, 3, generator=generator) + torch.randn(400, 3, generator=generator)).argmax(1)
    subsets = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 5]])
    found = fit_networks(
        features, labels, subsets, [], 3, LOSSES["cross-entropy"], epochs=300, loss_target=0.0, generator=generator
    )
    best = fit_logistic(features, labels, subsets)
    for outputs, loss in zip(found.outputs, best.loss, strict=True):
        assert float(LOSSES["cross-entropy"](outputs, labels)) == pytest.approx(float(loss), rel=0.01)


def test_training_ends_at_the_target():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 6, generator=generator)
    labels = features[:, :3].argmax(1)
    found = fit_networks(
        features,
        labels,
        torch.arange(6)[None],
        [16],
        3,
        LOSSES["cross-entropy"],
        epochs=200,
        loss_target=0.5,
        generator=generator,
    )
    assert found.epochs < 200


def test_how_many_samples_fit_by_the_theorems():
    assert fitting_samples(50, [], 10) == 51
    assert fitting_samples(50, [80], 10) == 100
    assert fitting_samples(20, [81, 122], 10) == 4 * 20 * 3
    assert fitting_samples(5, [], 3) == 6


def test_collisions_are_those_of_a_look_at_every_pair():
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(0, 2, (60, 4), generator=generator).float()
    targets = torch.randint(0, 2, (60,), generator=generator)
    same = (features[:, None] == features[None]).all(2)
    wanted = (same & (targets[:, None] != targets[None])).any(1)
    found = collisions(features, targets, generator)
    groups = {tuple(row.tolist()) for row in features[wanted]}
    assert found == sum(tuple(row.tolist()) in groups for row in features)
    assert collisions(torch.arange(5.0)[:, None], torch.arange(5), generator) == 0


def test_the_closest_pair_is_that_of_a_look_at_every_pair():
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(50, 3, generator=generator), torch.arange(50) % 2
    distances = torch.cdist(features.double(), features.double())[targets[:, None] != targets[None]]
    scale = (features - features.mean(0)).double().square().sum(1).mean().sqrt()
    assert closest(features, targets, generator) == pytest.approx(float(distances.min() / scale), rel=1e-5)
    assert closest(features, torch.zeros(50), generator) is None


def test_memorization_holds_where_the_free_neurons_suffice():
    task = vector_task(lambda: mlp(30, 100, 100))
    few = replace(task, train=task.train.head(40))
    found = ch.check(task.model(), few, "memorization")
    assert found[0].holds
    assert found[0].details["colliding"] == 0
    many = ch.check(task.model(), task, "memorization")
    assert not many[-1].holds
    assert many[0].details["parameters"] == 51 * 50


def test_features_that_collapse_are_not_generic():
    task = vector_task(lambda: mlp(30, 100, 100))
    model = task.model()
    model[1].weight.data.zero_()
    few = replace(task, train=task.train.head(40))
    found = ch.check(model, few, "memorization", layers=["2"])
    assert not found[0].holds
    assert found[0].details["colliding"] == 40
