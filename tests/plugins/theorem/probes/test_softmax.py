"""Losses, gradients and line searches of many regressions against PyTorch in float64."""

import pytest
import torch
from torch.nn import functional as F

from connectivity_hooks_theorem.probes.softmax import Likelihood

N, DRAWS, CLASSES = 40, 3, 4


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    logits = 3 * torch.randn(N, DRAWS, CLASSES, generator=generator)
    along = torch.randn(N, DRAWS, CLASSES, generator=generator)
    return labels, logits, along


def losses_of(logits, labels):
    return torch.stack([F.cross_entropy(logits[:, draw].double(), labels) for draw in range(logits.shape[1])])


def test_losses_and_residuals_are_those_of_cross_entropy(data):
    labels, logits, _ = data
    losses, residuals = Likelihood(labels, CLASSES, DRAWS)(logits)
    exact = logits.double().requires_grad_()
    losses_of(exact, labels).sum().backward()
    torch.testing.assert_close(losses, losses_of(logits, labels), rtol=1e-6, atol=0)
    torch.testing.assert_close(residuals.double() / N, exact.grad, rtol=1e-5, atol=1e-9)


def test_losses_far_below_float32s_resolution_are_known(data):
    labels, _, _ = data
    logits = 25.0 * F.one_hot(labels, CLASSES)[:, None, :].expand(-1, DRAWS, -1)
    losses, residuals = Likelihood(labels, CLASSES, DRAWS)(logits)
    exact = torch.log1p(3 * torch.exp(torch.tensor(-25.0, dtype=torch.float64)))
    torch.testing.assert_close(losses, exact.expand(DRAWS), rtol=1e-5, atol=0)
    assert residuals.any()


def test_huge_logits_overflow_nowhere(data):
    labels, logits, _ = data
    losses, residuals = Likelihood(labels, CLASSES, DRAWS)(1e4 * logits)
    torch.testing.assert_close(losses, losses_of(1e4 * logits, labels), rtol=1e-5, atol=0)
    assert residuals.isfinite().all()


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_step_meets_wolfes_conditions(data, scale):
    labels, logits, along = data
    downhill = -scale * (logits.softmax(2) - F.one_hot(labels, CLASSES)[:, None, :]) * (1 + along.abs())
    slope, bend = torch.tensor([0.0, 0.01, 0.02]).double(), torch.tensor([0.0, 0.1, 0.2]).double()
    length = Likelihood(labels, CLASSES, DRAWS).line_search(logits, downhill, slope, bend)
    assert (length > 0).all()

    def objective(a):
        moved = logits.double() + a[None, :, None] * downhill.double()
        return exactly(moved, labels) + a * slope + a.square() * bend

    zero, at = (torch.zeros(DRAWS).double().requires_grad_(), length.double().requires_grad_())
    (first,) = torch.autograd.grad(objective(zero).sum(), zero)
    (there,) = torch.autograd.grad(objective(at).sum(), at)
    assert (objective(at) <= objective(zero) + 1e-4 * at * first + 1e-9).all()
    assert (there.abs() <= 0.3 * first.abs() + 1e-7).all()


def exactly(logits, labels):
    return torch.stack([F.cross_entropy(logits[:, draw], labels) for draw in range(DRAWS)])


def test_uphill_there_is_no_step(data):
    labels, logits, _ = data
    uphill = logits.softmax(2) - F.one_hot(labels, CLASSES)[:, None, :]
    length = Likelihood(labels, CLASSES, DRAWS).line_search(logits, uphill, torch.zeros(DRAWS), torch.zeros(DRAWS))
    assert not length.any()


def test_errors_and_margins_are_those_of_a_look_at_every_sample(data):
    labels, logits, _ = data
    weights = torch.randn(DRAWS, CLASSES, 6, generator=torch.Generator().manual_seed(1))
    logits[0, :, :] = 1.0  # a tie, which counts as wrong
    errors, margin = Likelihood(labels, CLASSES, DRAWS).errors_and_margin(logits, weights)
    for draw in range(DRAWS):
        wrong, closest = 0, float("inf")
        for sample in range(N):
            own, each = int(labels[sample]), logits[sample, draw].double()
            rivals = [c for c in range(CLASSES) if c != own]
            wrong += any(each[c] >= each[own] for c in rivals)
            apart = [(weights[draw, own] - weights[draw, c]).double().norm() for c in rivals]
            closest = min(closest, *(float((each[own] - each[c]) / d) for c, d in zip(rivals, apart, strict=True)))
        assert int(errors[draw]) == wrong
        assert float(margin[draw]) == pytest.approx(closest, rel=1e-5)
