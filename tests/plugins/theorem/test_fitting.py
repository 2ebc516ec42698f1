"""Rounds of training, and when the output layer is fitted anew after one."""

from dataclasses import replace

import pytest
import torch
from small_networks import mlp, trained, vector_task

from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.search import fitter
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.features import Source, features_at
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.training import Schedule

CUT, LAST, ROUNDS = 1, 2, 3


@pytest.mark.parametrize("effort", EFFORTS.values(), ids=EFFORTS)
def test_a_warm_start_splits_the_first_round_alone(effort):
    fresh, warm = effort.schedules(warm=False), effort.schedules(warm=True)
    assert len(fresh) == effort.rounds
    assert set(fresh) == {effort.schedule}
    assert warm[2:] == fresh[1:]
    assert warm[0].epochs == effort.warm
    for count in ("epochs", "steps"):
        assert getattr(warm[0], count) + getattr(warm[1], count) == getattr(effort.schedule, count)
    assert all(part.maps == effort.schedule.maps for part in warm)


def test_a_shorter_schedule_has_as_many_steps_in_proportion():
    short = Schedule(20, steps=600).shortened(8)
    assert (short.epochs, short.steps, short.maps) == (8, 240, Schedule(20).maps)


@pytest.fixture
def fits(monkeypatch):
    """The rounds after which the output layer was fitted anew."""
    found, rounds = [], []
    train, fit_head = fitter.train, fitter.fit_head
    monkeypatch.setattr(fitter, "train", lambda *given: (rounds.append(1), train(*given))[1])
    monkeypatch.setattr(
        fitter, "fit_head", lambda *given, **more: (found.append(len(rounds)), fit_head(*given, **more))[1]
    )
    return found


def attempt(refit, target):
    """Train a sub-network for one step a round, on labels nothing can be learnt from."""
    task = vector_task(lambda: mlp(16, 16))
    weights = trained(task, 1, steps=5)
    network = read_task(weights, task)
    slots = Sides.of(network.spaces, random_orders(network.spaces, 0)).slots(CUT, 0)
    end = read_end(network, weights, task, "A")
    noise = torch.randint(0, 3, end.targets.shape, generator=torch.Generator().manual_seed(1))
    goal = replace(end.goal(target, imitate=False), targets=noise)
    effort = replace(EFFORTS["normal"], schedule=Schedule(1, steps=1), rounds=ROUNDS, refit=refit)
    fitter = Fitter(network, weights, goal, effort, 0.0, 50)
    features = features_at(Source(network, weights, CUT, slots), task.train, 50, 10**9)
    return fitter.trained(features, CUT, LAST, slots, torch.Generator().manual_seed(0))


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
