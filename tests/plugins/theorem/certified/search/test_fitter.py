"""Rounds of training, and when the output layer is fitted anew after one."""

from dataclasses import replace

import pytest
import torch
from parts import half
from small_networks import mlp, trained, vector_task

from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.search import fitter
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.features import Source, features_at
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.schedule import Schedule
from connectivity_hooks_theorem.certified.search.setting import Setting

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
    effort = replace(EFFORTS["normal"], schedule=Schedule(1, steps=1), rounds=ROUNDS, refit=refit)
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
