import pytest
import torch
from torch.nn import functional as F

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import LOSSES, custom_loss
from connectivity_hooks.tasks.loss import resolve_loss

N = 9


@pytest.mark.parametrize(
    ("name", "function", "targets"),
    [
        ("cross-entropy", F.cross_entropy, torch.arange(N) % 4),
        ("bce", F.binary_cross_entropy_with_logits, (torch.arange(4 * N) % 2).view(N, 4).float()),
        ("mse", F.mse_loss, torch.randn(N, 4)),
        ("l1", F.l1_loss, torch.randn(N, 4)),
        ("huber", F.huber_loss, torch.randn(N, 4)),
    ],
)
def test_the_mean_over_samples_is_torchs_loss(name, function, targets):
    outputs = torch.randn(N, 4)
    per_sample = LOSSES[name].per_sample(outputs, targets)
    assert per_sample.shape == (N,)
    torch.testing.assert_close(per_sample.mean(), function(outputs, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_every_built_in_loss_is_convex_along_random_lines(name):
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(N) % 4 if name == "cross-entropy" else torch.rand(N, 4, generator=generator)
    for _ in range(50):
        a, b = (5 * torch.randn(N, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        t = float(torch.rand(1, generator=generator))
        along = LOSSES[name].per_sample(torch.lerp(a, b, t), targets)
        chord = torch.lerp(LOSSES[name].per_sample(a, targets), LOSSES[name].per_sample(b, targets), t)
        assert (along <= chord + 1e-12).all()


def test_errors_are_counted():
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    assert LOSSES["cross-entropy"].errors(outputs, torch.tensor([0, 0])).tolist() == [0, 1]
    assert LOSSES["bce"].errors(outputs, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [0.5, 0]


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.long)),
        (torch.zeros(3, 2), torch.zeros(3, 4)),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs, targets):
    with pytest.raises(InputError, match="loss cross-entropy"):
        LOSSES["cross-entropy"].check(outputs, targets)


def test_a_loss_of_ones_own_must_give_a_value_for_each_sample():
    with pytest.raises(InputError, match=r"one value per sample \(9,\), found \(\)"):
        custom_loss("own", lambda o, y: F.mse_loss(o, y), convex=True).per_sample(torch.zeros(N, 2), torch.zeros(N, 2))


def test_names_and_declarations_are_checked():
    with pytest.raises(UsageError, match="did you mean 'huber'"):
        resolve_loss("hubert")
    with pytest.raises(UsageError, match="leave --loss-is-not-convex out"):
        resolve_loss("mse", convex=False)


def test_one_class_is_no_classification():
    outputs = torch.randn(4, 1)
    for targets in (torch.zeros(4, 1), torch.zeros(4, dtype=torch.long)):
        with pytest.raises(InputError, match="--loss bce"):
            LOSSES["cross-entropy"].check(outputs, targets)
