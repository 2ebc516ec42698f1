"""One sub-network: what it is once written, and when its output layer is fitted anew."""

from dataclasses import replace

import pytest
import torch
from certified_parts import half, read
from small_networks import exact, image_task, mlp, trained, vector_task
from torch import nn

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.blocks import narrow_blocks, write_blocks
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.subnetwork import Subnetwork
from connectivity_hooks_theorem.certified.search import fitter
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.features import Held, Source, features_at
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.setting import Setting
from connectivity_hooks_theorem.certified.search.training_schedule import TrainingSchedule

CUT, LAST, ROUNDS = 1, 2, 3


@pytest.fixture
def fits(monkeypatch):
    """The rounds after which the output layer was fitted anew."""
    found, rounds = [], []
    train, fit = fitter.train, fitter.fit_output_layer
    monkeypatch.setattr(fitter, "train", lambda *given: (rounds.append(1), train(*given))[1])
    monkeypatch.setattr(
        fitter, "fit_output_layer", lambda *given, **more: (found.append(len(rounds)), fit(*given, **more))[1]
    )
    return found


def attempt(refit, target):
    """Train a sub-network for one step a round, on labels nothing can be learnt from."""
    task = vector_task(lambda: mlp(16, 16))
    weights = trained(task, 1, steps=5)
    network = read_task(weights, task)
    neurons = half(network, CUT)
    end = read_end(network, weights, task, "A")
    noise = torch.randint(0, 3, end.targets.shape, generator=torch.Generator().manual_seed(1))
    goal = replace(end.goal(target, imitate=False), targets=noise)
    effort = replace(EFFORTS["normal"], schedule=TrainingSchedule(1, steps=1), rounds=ROUNDS, refit=refit)
    fitter = Fitter(Setting(network, task, effort, 0), weights, goal)
    features = features_at(Source(network, weights, CUT, neurons), task.train, 50, 10**9)
    return fitter.trained(features, Stretch(network, CUT, LAST), neurons, torch.Generator().manual_seed(0))


def test_many_errors_wait_for_the_last_round_to_be_fitted(fits):
    found = attempt(refit=0.1, target=1e-6)
    assert fits == [ROUNDS]
    assert found.loss > 1e-6
    assert found.error > 0.1


def test_few_errors_are_fitted_after_every_round(fits):
    attempt(refit=1.0, target=1e-6)
    assert fits == [1, 2, 3]


def test_a_goal_that_is_reached_fits_nothing(fits):
    attempt(refit=1.0, target=10.0)
    assert fits == []


def fitter_of(case, target, seed=1, **effort):
    task, weights, network = read(case, steps=40)
    end = read_end(network, weights, task, "A")
    setting = Setting(network, task, replace(EFFORTS["quick"], **effort), 0)
    return Fitter(setting, end.on_device, end.goal(target, imitate=True)), weights, half(network, seed=seed)


def held(fit, cut, neurons):
    network, task = fit.setting.network, fit.setting.task
    values = Stretch(network, 0, cut).run(fit.end, {INPUT: task.train.inputs})
    return Held(network, values, neurons)


def written(weights, network, found):
    """Return an end in which a sub-network is written over the layers behind its cut."""
    now = dict(weights)
    write_blocks(now, found.weights, Stretch(network, found.cut).layers, found.neurons)
    return now


@pytest.mark.parametrize("cut", [2, 3])
def test_a_probe_written_into_the_network_has_the_loss_it_says(cut):
    fit, weights, neurons = fitter_of("convolutional", 1e-3)
    found = fit.probe(held(fit, cut, neurons), cut, neurons, must_generalise=False)
    outputs, loss = exact(fit.setting.task, written(weights, fit.setting.network, found), fit.setting.task.train)
    assert loss == pytest.approx(found.loss, rel=1e-3)
    assert float((outputs.argmax(1) != fit.goal.targets).double().mean()) == pytest.approx(found.error)
    assert (found.cut, found.trained) == (cut, 0)
    for layer in Stretch(fit.setting.network, cut).hidden:
        assert len(found.neurons[layer.rows.space]) == 2 * 3  # a pair for each class, and the rest is left to others


@pytest.mark.parametrize(("case", "cut", "until"), [("mlp", 1, 2), ("mlp", 1, 3), ("convolutional", 1, 3)])
def test_a_trained_sub_network_written_into_the_network_has_the_loss_it_says(case, cut, until):
    fit, weights, neurons = fitter_of(case, 1e-3)
    stretch = Stretch(fit.setting.network, cut, until)
    found = fit.trained(held(fit, cut, neurons), stretch, neurons, torch.Generator().manual_seed(0))
    outputs, loss = exact(fit.setting.task, written(weights, fit.setting.network, found), fit.setting.task.train)
    assert loss == pytest.approx(found.loss, rel=1e-3)
    assert float((outputs.argmax(1) != fit.goal.targets).double().mean()) == pytest.approx(found.error)
    assert (found.cut, found.trained) == (cut, until - cut)


def test_an_output_layer_that_is_a_convolution_is_trained_and_scaled_in_its_place():
    def net():
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1), *pooled)

    fit, weights, neurons = fitter_of((image_task, net), 1e-6)
    stretch = Stretch(fit.setting.network, 1, 1)
    found = fit.trained(held(fit, 1, neurons), stretch, neurons, torch.Generator().manual_seed(0))
    outputs, loss = exact(fit.setting.task, written(weights, fit.setting.network, found), fit.setting.task.train)
    assert loss == pytest.approx(found.loss, rel=1e-3)
    best = min(fit.goal.measure(outputs * 2 ** (power / 8)) for power in range(-16, 17))
    assert found.loss <= 1e-6 or found.loss == pytest.approx(best, rel=0.02)  # no factor would do better


def test_a_probe_that_does_not_generalise_is_none():
    fit, _, neurons = fitter_of("mlp", 1e-3, held_out=-1.0)  # fewer errors than the end by all samples
    assert fit.probe(held(fit, 1, neurons), 1, neurons, must_generalise=True) is None
    assert fit.probe(held(fit, 1, neurons), 1, neurons, must_generalise=False) is not None
    lenient, _, _ = fitter_of("mlp", 1e-3, held_out=1.0)
    assert lenient.probe(held(lenient, 1, neurons), 1, neurons, must_generalise=True) is not None


def test_held_out_errors_are_those_of_the_last_tenth():
    fit, _, neurons = fitter_of("mlp", 1e-3)
    features = held(fit, 1, neurons)
    x, seen = features.whole().double(), 240 - 24
    wished = fit.goal.outputs.double() - fit.goal.outputs.double().mean(1, keepdim=True)
    columns = torch.cat([x, torch.ones(len(x), 1)], 1)
    probe = torch.linalg.lstsq(columns[:seen], wished[:seen]).solution
    labels = fit.goal.targets[seen:]
    wrong = float(((columns[seen:] @ probe).argmax(1) != labels).double().mean())
    own = float((fit.goal.outputs[seen:].argmax(1) != labels).double().mean())
    for allowed, taken in ((wrong - own + 1e-6, True), (wrong - own - 1e-6, False)):
        setting = replace(fit.setting, effort=replace(fit.setting.effort, held_out=allowed))
        probe = replace(fit, setting=setting).probe(features, 1, neurons, must_generalise=True)
        assert (probe is not None) == taken


def test_the_weights_of_a_warm_start_are_trained_on():
    fit, _, neurons = fitter_of("mlp", 1e9)  # anything is good enough: one short round
    network, features = fit.setting.network, held(fit, 1, neurons)
    every = half(network, subnetwork=2)
    narrow = narrow_blocks(fit.end, Stretch(network, 2).layers, every, every)
    above = Subnetwork(2, every, narrow, 1, 0.0, None)
    stretch = Stretch(network, 1, 3)
    fresh = fit.trained(features, stretch, neurons, torch.Generator().manual_seed(0))
    warm = fit.trained(features, stretch, neurons, torch.Generator().manual_seed(0), above)
    start = narrow["5.weight"]
    assert (warm.weights["5.weight"] - start).norm() < (fresh.weights["5.weight"] - start).norm()
