"""Output layers against scikit-learn, scipy and numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.tasks import LOSSES
from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.certified.search.output_layer import (
    OutputLayer,
    best_factor,
    closest_output_layer,
    fit_output_layer,
)

NEVER = 0.0  # a loss no fit reaches


def problem(noise, samples=300, width=8, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, width, generator=generator) + 0.5
    scores = x @ torch.randn(width, classes, generator=generator)
    labels = (scores + noise * torch.randn(samples, classes, generator=generator)).argmax(1)
    return x, labels, Goal(labels, LOSSES["cross-entropy"], classes, scores, NEVER)


def test_an_output_layer_is_an_affine_map_and_scales_with_its_bias():
    layer = OutputLayer(torch.randn(3, 5), torch.randn(3))
    x = torch.randn(7, 5)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)
    torch.testing.assert_close(layer.scaled(2.5)(x), 2.5 * layer(x))
    assert OutputLayer(layer.weight, None).scaled(2.0).bias is None


@pytest.mark.parametrize("bias", [True, False])
def test_the_closest_is_that_of_numpys_least_squares(bias):
    x, _, goal = problem(2.0)
    found = closest_output_layer(x, goal, bias=bias)
    centred = (goal.outputs - goal.outputs.mean(1, keepdim=True)).double().numpy()
    columns = np.concatenate([x.double().numpy(), np.ones((len(x), 1))], 1) if bias else x.double().numpy()
    wanted = np.linalg.lstsq(columns, centred, rcond=None)[0].T
    torch.testing.assert_close(found.weight.double(), torch.tensor(wanted[:, :8]), rtol=1e-3, atol=1e-4)
    assert (found.bias is None) == (not bias)
    if bias:
        torch.testing.assert_close(found.bias.double(), torch.tensor(wanted[:, 8]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_patient_fit_is_as_low_as_scikit_learns(bias):
    x, labels, goal = problem(3.0)
    found = fit_output_layer(x.clone(), goal, bias=bias, patient=True)
    theirs = LogisticRegression(C=np.inf, fit_intercept=bias, tol=1e-10, max_iter=10_000).fit(x.double(), labels)
    scores = torch.tensor(x.double().numpy() @ theirs.coef_.T + theirs.intercept_)
    best = float(F.cross_entropy(scores, labels))
    assert best > 0.1
    assert goal.measure(found(x).double()) == pytest.approx(best, rel=1e-4)


def test_an_impatient_fit_is_close_to_it():
    x, labels, goal = problem(3.0)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x.double(), labels)
    best = float(F.cross_entropy(torch.tensor(theirs.decision_function(x.double())), labels))
    found = fit_output_layer(x.clone(), goal, bias=True)
    assert best <= goal.measure(found(x).double()) * (1 + 1e-6)
    assert goal.measure(found(x).double()) == pytest.approx(best, rel=0.01)


def test_a_ridge_weighs_the_norm_on_standardised_features():
    x, labels, goal = problem(1.0)
    ridge, spread = 1e-2, x.double().std(0, correction=0)
    found = fit_output_layer(x.clone(), goal, bias=True, ridge=ridge)
    objective = goal.measure(found(x).double()) + ridge * float((found.weight.double() * spread).square().sum())
    standard = (x.double() - x.double().mean(0)) / spread
    theirs = LogisticRegression(C=1 / (2 * ridge * len(x)), tol=1e-10, max_iter=10_000).fit(standard, labels)
    scores = torch.tensor(theirs.decision_function(standard))
    wanted = float(F.cross_entropy(scores, labels)) + ridge * float(np.square(theirs.coef_).sum())
    assert objective == pytest.approx(wanted, rel=1e-3)


def test_separable_features_reach_any_goal_and_the_fit_ends_there():
    x, _, goal = problem(0.0)
    losses = []
    for target in (1e-1, 1e-3, 1e-6):
        found = fit_output_layer(x.clone(), replace(goal, target=target), bias=True)
        losses.append(replace(goal, target=target).measure(found(x)))
        assert losses[-1] <= target
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1e-3


def test_the_closest_map_is_scaled_and_taken_where_that_reaches_the_goal():
    x, _, goal = problem(0.0)
    closest, found = (
        fit(x.clone(), replace(goal, target=1e-4), bias=True) for fit in (closest_output_layer, fit_output_layer)
    )
    factor = found.weight / closest.weight
    torch.testing.assert_close(factor, factor[0, 0].expand_as(factor))
    power = 8 * float(factor[0, 0].double().log2())
    assert power == pytest.approx(round(power), abs=1e-3)
    assert power > 0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["mse", "huber"])
def test_other_losses_are_as_low_as_scipys(name, bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator) + 1
    wished = x @ torch.randn(4, 2, generator=generator) + 2 * torch.randn(200, 2, generator=generator) ** 3
    goal = Goal(wished, LOSSES[name], 2, None, NEVER)
    found = fit_output_layer(x.clone(), goal, bias=bias)
    wide = np.concatenate([x.double().numpy(), np.full((200, 1), float(bias))], 1)

    def objective(flat):
        gaps = wide @ flat.reshape(5, 2) - wished.double().numpy()
        small = np.abs(gaps) <= 1
        each = gaps**2 if name == "mse" else np.where(small, gaps**2 / 2, np.abs(gaps) - 0.5)
        return each.mean()

    best = minimize(objective, np.zeros(10), method="BFGS", options={"gtol": 1e-8}).fun
    assert goal.measure(found(x)) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("noise", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("target", [1e-1, 1e-4])
def test_the_factor_is_the_least_that_reaches_the_target(noise, target):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    outputs = nn.functional.one_hot(labels, 3) + noise * torch.randn(200, 3, generator=generator)
    goal = Goal(labels, LOSSES["cross-entropy"], 3, None, target)
    grid = {power: goal.measure(outputs * 2 ** (power / 8)) for power in range(-80, 81)}
    reaching = [power for power, loss in grid.items() if loss <= target and power >= 0]
    found = goal.measure(outputs * best_factor(outputs, goal))
    if reaching:
        assert best_factor(outputs, goal) == 2 ** (reaching[0] / 8)
    else:
        assert found == pytest.approx(min(grid.values()), rel=0.02)


def test_only_the_cross_entropy_of_labels_is_scaled():
    outputs = torch.randn(20, 3)
    assert best_factor(outputs, Goal(outputs / 2, LOSSES["mse"], 3, None, NEVER)) == 1.0
