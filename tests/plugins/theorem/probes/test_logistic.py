"""Logistic probes against scikit-learn, scipy in float64, and linear programming."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from sklearn.linear_model import LogisticRegression

from connectivity_hooks_theorem.probes.logistic import fit_logistic


def problem(samples=300, width=8, classes=3, seed=0, noise=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, width, generator=generator) @ torch.randn(width, width, generator=generator)
    scores = x @ torch.randn(width, classes, generator=generator)
    labels = (scores + noise * scores.std() * torch.randn(samples, classes, generator=generator)).argmax(1)
    return x, labels


def everything(width):
    return torch.arange(width)[None]


def objective(fit, x, labels, ridge, draw=0, subset=slice(None)):
    kept = x[:, subset].double()
    weight, bias = fit.weight[draw].double(), fit.bias[draw].double()
    loss = torch.nn.functional.cross_entropy(kept @ weight.T + bias, labels)
    return float(loss + ridge * (weight * x[:, subset].double().std(0, correction=0)).square().sum())


@pytest.mark.parametrize("ridge", [1e-3, 1e-2])
def test_the_minimum_is_scikit_learns(ridge):
    x, labels = problem()
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    # scikit-learn minimises C·Σ losses + ½‖W‖²
    oracle = LogisticRegression(C=1 / (2 * ridge * len(x)), tol=1e-10, max_iter=10000).fit(standard, labels.numpy())
    logits = torch.tensor(standard @ oracle.coef_.T + oracle.intercept_)
    best = torch.nn.functional.cross_entropy(logits, labels).item() + ridge * np.square(oracle.coef_).sum()
    fit = fit_logistic(x, labels, everything(8), ridge=ridge, tolerance=1e-9)
    assert objective(fit, x, labels, ridge) == pytest.approx(best, rel=1e-5)
    assert int(fit.errors[0]) == int((logits.argmax(1) != labels).sum())


def test_the_minimum_without_a_ridge_is_scipys():
    x, labels = problem(samples=120, width=4, noise=2.0)
    design = np.c_[x.double().numpy(), np.ones(len(x))]
    own = np.eye(3)[labels.numpy()]

    def loss(flat):
        logits = design @ flat.reshape(3, 5).T
        shifted = logits - logits.max(1, keepdims=True)
        total = np.exp(shifted).sum(1, keepdims=True)
        gradient = (np.exp(shifted) / total - own).T @ design / len(x)
        return -(own * (shifted - np.log(total))).sum() / len(x), gradient.ravel()

    best = minimize(loss, np.zeros(15), jac=True, options={"gtol": 1e-10, "maxiter": 10000}).fun
    fit = fit_logistic(x, labels, everything(4), tolerance=1e-9, max_iterations=1000)
    assert fit.loss[0].item() == pytest.approx(best, rel=1e-5)


def separable_by_linear_programming(x, labels):
    """Whether W, b exist with (w_y - w_j)·x + b_y - b_j ≥ 1 for every sample and rival."""
    samples, width = x.shape
    classes = int(labels.max()) + 1
    rows = []
    for i in range(samples):
        for rival in set(range(classes)) - {int(labels[i])}:
            row = np.zeros((classes, width + 1))
            row[labels[i]] += np.append(x[i], 1)
            row[rival] -= np.append(x[i], 1)
            rows.append(-row.ravel())
    size = classes * (width + 1)
    return linprog(np.zeros(size), np.array(rows), -np.ones(len(rows)), bounds=[(None, None)] * size).status == 0


@pytest.mark.parametrize("seed", range(8))
def test_separable_exactly_where_linear_programming_says_so(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, 6, generator=generator)
    labels = torch.randint(0, 3, (24,), generator=generator)
    if seed % 2:
        labels = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    fit = fit_logistic(x, labels, everything(6), loss_target=1e-6, tolerance=1e-9, max_iterations=2000)
    separable = separable_by_linear_programming(x.double().numpy(), labels.numpy())
    assert (int(fit.errors[0]) == 0) == separable
    assert (float(fit.margin[0]) > 0) == separable


def test_a_separable_loss_goes_far_below_float32_resolution_without_overflow():
    x, labels = problem(noise=0.0)
    fit = fit_logistic(x, labels, everything(8), loss_target=1e-10, tolerance=0, max_iterations=3000)
    exact = torch.nn.functional.cross_entropy(x.double() @ fit.weight[0].double().T + fit.bias[0].double(), labels)
    assert 0 <= fit.loss[0] < 1e-8
    assert fit.loss[0].item() == pytest.approx(exact.item(), rel=1e-2, abs=1e-12)


def test_draws_in_one_batch_are_the_draws_one_by_one():
    x, labels = problem(width=10)
    subsets = torch.stack(
        [torch.randperm(10, generator=torch.Generator().manual_seed(s))[:5].sort().values for s in range(4)]
    )
    together = fit_logistic(x, labels, subsets, ridge=1e-3, tolerance=1e-9)
    for draw in range(4):
        alone = fit_logistic(x[:, subsets[draw]], labels, everything(5), ridge=1e-3, tolerance=1e-9)
        assert together.loss[draw].item() == pytest.approx(alone.loss[0].item(), rel=1e-4)
        assert together.errors[draw] == alone.errors[0]
        assert objective(together, x, labels, 0, draw, subsets[draw]) == pytest.approx(
            together.loss[draw].item(), rel=1e-4
        )


def test_scales_and_shifts_of_the_features_do_not_matter():
    x, labels = problem()
    scale = torch.logspace(-6, 6, 8)
    plain = fit_logistic(x, labels, everything(8), ridge=1e-3, tolerance=1e-9)
    scaled = fit_logistic(x * scale + 3 * scale, labels, everything(8), ridge=1e-3, tolerance=1e-9)
    assert scaled.loss[0].item() == pytest.approx(plain.loss[0].item(), rel=1e-3)


def test_dead_and_constant_neurons_get_no_weight():
    x, labels = problem()
    x[:, 2], x[:, 5] = 0, 7.3
    fit = fit_logistic(x, labels, everything(8), ridge=1e-4)
    assert torch.isfinite(fit.weight).all()
    assert (fit.weight[0][:, [2, 5]] == 0).all()


def test_the_margin_is_the_distance_of_the_closest_sample():
    x = torch.tensor([[-2.0], [-1.0], [1.0], [4.0]])
    labels = torch.tensor([0, 0, 1, 1])
    fit = fit_logistic(x, labels, everything(1), loss_target=1e-4)
    boundary = -(fit.bias[0, 0] - fit.bias[0, 1]) / (fit.weight[0, 0, 0] - fit.weight[0, 1, 0])
    expected = (x.flatten() - boundary).abs().min() / x.std(correction=0) / 1
    assert fit.margin[0].item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_class_that_no_sample_has_is_no_obstacle():
    x, labels = problem()
    fit = fit_logistic(x, labels, everything(8), classes=5, ridge=1e-3)
    assert fit.weight.shape == (1, 5, 8)
    assert torch.isfinite(fit.loss).all()


def test_the_fit_is_deterministic_and_leaves_the_global_random_state_alone():
    x, labels = problem()
    state = torch.get_rng_state()
    fits = [fit_logistic(x, labels, everything(8)) for _ in range(2)]
    assert torch.equal(fits[0].weight, fits[1].weight)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_finds_the_same_minimum():
    x, labels = problem()
    here = fit_logistic(x, labels, everything(8), ridge=1e-3, tolerance=1e-9)
    there = fit_logistic(x.cuda(), labels.cuda(), everything(8), ridge=1e-3, tolerance=1e-9)
    assert there.loss[0].item() == pytest.approx(here.loss[0].item(), rel=1e-4)
