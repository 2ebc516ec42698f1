"""REPAIR of networks with batch norm: what norms alone read needs nothing, the norms are measured anew."""

import torch
from repaired import channels, corrected, ends_of, inputs_of, require_between, require_own, task_of
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.evaluation.sampling import corrected_sample
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks_corrections.batch_norm import BatchNorm
from connectivity_hooks_corrections.repair import Repair


class Normed(nn.Module):
    """A layer whose outputs a norm reads, and one whose outputs a norm and a skip read."""

    def __init__(self, bias=False):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, bias=bias), nn.BatchNorm2d(6)
        self.second, self.norm2 = nn.Conv2d(6, 5, 2), nn.BatchNorm2d(5)
        self.third, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.second(F.relu(self.norm(self.first(x))))
        return self.head(F.relu(self.third(F.relu(x + self.norm2(x)))).mean((2, 3)))


def stats_of(make, x, count=2):
    """Return ends whose norms have the statistics of the data."""
    points = ends_of(make, count)
    for weights in points:
        model = make().double()
        model.load_state_dict(weights)
        with torch.no_grad():
            model.train()(x)
        weights.update({k: v.clone() for k, v in model.state_dict().items() if "running" in k})
    return points


def test_norms_are_measured_under_the_corrected_layers_and_what_they_alone_read_needs_nothing():
    x = inputs_of(30, 3, 6, 6)
    points = stats_of(Normed, x)
    # A norm divides by the deviation of the population while it measures, and stores that of a sample, of 480 here.
    near = {"rtol": 3e-3, "atol": 3e-3}
    prepared, weights, _ = require_between(Normed, x, ["second", "third"], points=points, rtol=3e-3)
    require_own(weights, points, ["first.weight"])
    hidden, here = F.conv2d(x, weights["first.weight"]), channels(Normed, weights, x)
    torch.testing.assert_close(weights["norm.running_mean"], hidden.mean((0, 2, 3)))
    torch.testing.assert_close(weights["norm.running_var"], hidden.var((0, 2, 3)))
    torch.testing.assert_close(weights["norm2.running_mean"], here["second"].mean(1), **near)
    torch.testing.assert_close(weights["norm2.running_var"], here["second"].var(1), **near)
    assert prepared.notes == (
        "repair gives 2 layers the means and deviations between both ends', and measures 2 norms anew",
    )


class Flattened(nn.Module):
    """Norms that read views of a layer's outputs: tokens in a row, turned, and one that takes tokens for channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.norm_a, self.norm_b, self.norm_c = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.a(x)
        x = F.relu(self.norm_a(x.flatten(0, 1)).view_as(x))
        x = F.relu(self.norm_b(self.b(x).transpose(1, 2)).transpose(1, 2))
        return self.head(F.relu(self.norm_c(self.c(x))).mean(1))  # six tokens: they are taken for channels


def test_a_norm_counts_where_it_scales_the_same_channels():
    x = inputs_of(30, 6, 4)
    prepared, _, _ = corrected(Flattened, x, points=stats_of(Flattened, x))
    assert prepared._layers == []
    assert prepared.left == ("c",)


def test_with_norms_after_every_layer_it_is_batch_norm_between_the_ends():
    def make():
        return nn.Sequential(
            nn.Linear(5, 4),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Linear(4, 4, bias=False),
            nn.BatchNorm1d(4),
            nn.Linear(4, 3),
        )

    x = inputs_of(60, 5)
    path, task = Path.from_points(stats_of(make, x)), task_of(make, x, 16)
    for t in (0.2, 0.5):
        one, other = (corrected_sample(path, t, task, how()) for how in (Repair, BatchNorm))
        assert all(same(one[name], other[name]) for name in one)


class Dense(nn.Module):
    """Outputs that reach norms side by side with others and pooled, one of them a skip that no norm sees."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(n, 4, 1, bias=False) for n in (3, 4, 8, 4))
        self.norm_a, self.norm_ab = nn.BatchNorm2d(4), nn.BatchNorm2d(8)
        self.norm_c, self.norm_d = nn.BatchNorm2d(4), nn.BatchNorm1d(4)
        self.last, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.relu(self.norm_a(a)))
        c = self.c(F.relu(self.norm_ab(torch.cat([a, b], 1))))
        d = self.d(F.relu(self.norm_c(F.avg_pool2d(F.max_pool2d(c, 2), 2))))
        return self.head(F.relu(self.norm_d(F.relu(self.last(torch.cat([d, d], 2))).mean((2, 3)))))


def test_channels_are_followed_through_what_keeps_them():
    x = inputs_of(30, 3, 8, 8)
    prepared, _, _ = corrected(Dense, x, points=stats_of(Dense, x))
    assert [layer.name for layer in prepared._layers] == ["last"]
    assert prepared.left == ("d",)  # a convolution reads it
