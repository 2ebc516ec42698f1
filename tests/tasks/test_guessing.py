"""What guessing scores, against the loss itself of the best constant answer."""

import math

import pytest
import scipy.optimize
import scipy.stats
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from connectivity_hooks.tasks import LOSSES, CachedSplit, custom_loss
from connectivity_hooks.tasks.guessing import guess

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0, 1, 1, 1, 2, 4] * 10)
TARGETS = {
    "labels": ("cross-entropy", LABELS, (60, 5)),
    "labels of tokens": ("cross-entropy", LABELS.view(12, 5), (12, 5, 5)),
    "probabilities": ("cross-entropy", torch.rand(40, 3, generator=GENERATOR).softmax(1), (40, 3)),
    "one logit": ("bce", (torch.arange(50) % 5 == 0).float()[:, None], (50, 1)),
    "three logits": ("bce", (torch.rand(50, 3, generator=GENERATOR) < 0.3).float(), (50, 3)),
    "values": ("mse", torch.randn(30, 2, generator=GENERATOR), (30, 2)),
    "absolute values": ("l1", torch.randn(31, 2, generator=GENERATOR), (31, 2)),
}


def split(targets):
    return CachedSplit("train", torch.zeros(len(targets), 1), targets)


@pytest.mark.parametrize("name", TARGETS)
def test_it_is_the_best_of_all_constant_answers(name):
    """Gradient descent on a constant answer ends at the same loss, and no constant answer has fewer errors."""
    loss, targets, shape = TARGETS[name]
    found = guess(LOSSES[loss], split(targets))
    answer = nn.Parameter(torch.zeros(1, *shape[1:2], *(1,) * (len(shape) - 2)).double())
    optimizer = torch.optim.Adam([answer], 0.05)
    for step in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 600)
        optimizer.zero_grad()
        reached = LOSSES[loss](answer.expand(shape), targets.double() if targets.is_floating_point() else targets)
        reached.backward()
        optimizer.step()
    assert found.loss == pytest.approx(reached.item(), rel=2e-3)
    if LOSSES[loss].errors is not None:
        values = torch.stack(torch.meshgrid(*[torch.tensor([0.0, 1.0])] * shape[1], indexing="ij"), -1).flatten(0, -2)
        views = values.view(-1, 1, *shape[1:2], *(1,) * (len(shape) - 2))
        errors = [LOSSES[loss].errors((2 * v - 1).expand(shape), targets).mean().item() for v in views]
        assert found.error == pytest.approx(min(errors), abs=1e-6)


def test_targets_that_are_all_the_same_make_guessing_perfect():
    for loss, targets in (
        ("cross-entropy", torch.full((9,), 3)),
        ("bce", torch.ones(9, 1)),
        ("mse", torch.full((9, 2), 0.1)),
    ):
        assert guess(LOSSES[loss], split(targets)).is_perfect
    assert not guess(LOSSES["cross-entropy"], split(LABELS)).is_perfect


def test_ignored_labels_do_not_count():
    labels = LABELS.view(12, 5).clone()
    labels[:7, :3] = labels[9] = -100
    found = guess(LOSSES["cross-entropy"], split(labels))
    kept = labels[labels != -100]
    frequencies = torch.bincount(kept).double() / len(kept)
    logits = frequencies.log()[None, :, None].expand(12, 5, 5)
    assert found.loss == pytest.approx(cross_entropy(logits, labels).item())
    assert found.loss == pytest.approx(scipy.stats.entropy(frequencies))
    assert found.error == pytest.approx((kept != frequencies.argmax()).double().mean().item())
    assert guess(LOSSES["cross-entropy"], split(torch.full((3,), -100))) is None


def test_of_a_loss_of_ones_own_nothing_is_known():
    assert guess(custom_loss("own", lambda o, y: (o - y)[:, 0], convex=True), split(torch.ones(3, 1))) is None


def test_targets_that_are_not_finite_are_no_scale():
    assert guess(LOSSES["mse"], split(torch.tensor([[1.0], [math.nan]]))) is None


def test_many_targets_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr("connectivity_hooks.tasks.guessing._MOST", 100)
    targets = torch.linspace(-1, 1, 1000)[:, None]
    assert guess(LOSSES["mse"], split(targets)).loss == pytest.approx(targets.var().item(), rel=0.05)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_weights_of_classes_need_not_sum_to_one(factor):
    """The best constant answer is what scipy finds for the loss itself, in float64."""
    generator = torch.Generator().manual_seed(3)
    for targets in (
        factor * torch.rand(60, 4, generator=generator).softmax(1),
        factor * torch.rand(60, 4, generator=generator),
        factor * torch.rand(20, 4, 3, generator=generator),
    ):
        wide = targets.double()

        def cost(logits, wide=wide):
            answer = torch.tensor(logits).view(1, 4, *[1] * (wide.ndim - 2)).expand_as(wide)
            return float(cross_entropy(answer, wide))

        best = scipy.optimize.minimize(cost, [0.0] * 4, tol=1e-12)
        assert guess(LOSSES["cross-entropy"], split(targets)).loss == pytest.approx(best.fun, rel=1e-6)
