"""A module under the weights of several points, against the module that holds them, and a product in float64."""

import pytest
import torch
from torch import nn

from connectivity_hooks.model.running import Forward
from connectivity_hooks.model.stacked import at_once, bytes_of_row, in_turn, point_of, stacked

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def points_of(make, count=3):
    """Return a module, the weights of several more of its kind, and these modules."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, *others = (make().eval() for _ in range(count + 1))
    return model, [point_of(other) for other in others], others


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return {"logits": self.second(self.first(x).tanh())}


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def normed():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 2))
    model(torch.randn(8, 4))
    return model


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.rnn(x.reshape(-1, 2, 2))[0][:, -1])


@pytest.mark.parametrize("make", [mlp, normed, Tied, Recurrent])
@torch.no_grad()
def test_in_turn_gives_what_the_modules_of_the_points_give(make):
    model, points, others = points_of(make)
    run = Forward()
    found = in_turn(model, points, X, run)
    assert torch.equal(found, torch.stack([run(other, X) for other in others]))


@pytest.mark.parametrize("make", [mlp, normed, Tied])
@torch.no_grad()
def test_at_once_gives_the_same_within_rounding(make):
    model, points, others = points_of(lambda: make().double())
    run, x = Forward(), X.double()
    found = at_once(model, stacked(points), x, run)
    torch.testing.assert_close(found, torch.stack([run(o, x) for o in others]), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_both_are_the_product_of_the_weights_by_hand():
    model, points, _ = points_of(lambda: nn.Linear(4, 3))
    expected = torch.stack([X.double() @ point["weight"].double().T + point["bias"].double() for point in points])
    for found in (in_turn(model, points, X), at_once(model, stacked(points), X)):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_module_keeps_its_own_weights():
    model, points, _ = points_of(Tied)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    in_turn(model, points, X)
    at_once(model, stacked(points), X)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.second.weight is model.first.weight


def test_a_point_is_a_copy_with_every_name_of_a_tied_tensor():
    model = Tied()
    point = point_of(model)
    assert point.keys() == model.state_dict().keys()
    assert point["first.weight"] is point["second.weight"]
    with torch.no_grad():
        model.first.weight.zero_()
    assert point["first.weight"].any()


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        y = self.linear(x)
        return -y if y.sum() > 0 else y


@torch.no_grad()
def test_what_depends_on_values_is_refused_at_once_and_computed_in_turn():
    model, points, others = points_of(Branching)
    with pytest.raises(RuntimeError):
        at_once(model, stacked(points), X)
    assert torch.equal(in_turn(model, points, X), torch.stack([other(X) for other in others]))


@torch.no_grad()
def test_bytes_of_a_row_count_what_is_computed_and_no_weights():
    one, more = (bytes_of_row(nn.Linear(4, width), X) for width in (10, 30))
    assert (one, more) == (4 * 10, 4 * 30)
    assert bytes_of_row(nn.Sequential(nn.Linear(4, 10), nn.ReLU()), X) == 2 * 4 * 10
