"""What REPAIR leaves as the path has it: layers that one map cannot correct, with the reason, and output layers."""

import pytest
import torch
from repaired import (
    Net,
    inputs_of,
    mlp,
    require_between,
    require_own,
)
from torch import nn
from torch.nn import functional as F


def test_a_layer_without_bias_is_left_out_and_named():
    def make():
        return nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))

    prepared, weights, points = require_between(make, inputs_of(60, 5), ["2"], left=["0"])
    require_own(weights, points, ["0.weight", "4.weight", "4.bias"])
    assert "repair leaves as the path has them, since they have no bias to hold the shift: 0" in prepared.notes


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(F.relu(self.again(F.relu(self.again(F.relu(self.first(x)))))))


class Tied(nn.Module):
    """Two layers of one weight, one whose weight is read by hand too, one that is built upon by a table."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.a, self.b, self.free, self.hand = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 4), nn.Linear(4, 5)
        self.listed, self.head = nn.Linear(4, 5), nn.Linear(5, 3)
        self.b.weight, self.listed.weight = self.a.weight, self.table.weight

    def forward(self, x):
        x = F.relu(self.free(F.relu(self.b(F.relu(self.a(x))))))
        x = F.relu(F.relu(self.hand(x)) @ self.hand.weight) + self.table(torch.zeros(len(x), dtype=torch.long))
        return self.head(F.relu(self.listed(x)))


class Halves(nn.Module):
    """Multiplies with two halves of one weight by hand, the second one alone with what comes of a layer."""

    def __init__(self):
        super().__init__()
        self.first, self.both, self.head = nn.Linear(5, 4), nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.head(F.relu(x @ self.both.weight[:, :5].T + hidden @ self.both.weight[:, 5:].T + self.both.bias))


class Seldom(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.never, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.head(self.never(x) if len(x) < 0 else x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.up, self.head = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(F.relu(self.up(self.attention(x, x, x)[0])).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.up, self.head = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(F.relu(self.up(self.cell(x)[0])).mean(1))


class Scripted(nn.Module):
    """Parts of which run outside of Python, where no hook sees them."""

    def __init__(self):
        super().__init__()
        self.body = torch.jit.trace(mlp(5, 6, 6).eval(), torch.zeros(2, 5))
        self.up, self.head = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(F.relu(self.up(self.body(x))))


class Pair(nn.Linear):
    """Returns something beside its outputs."""

    def forward(self, x):
        return super().forward(x), "more"


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.both, self.head = Pair(5, 6), nn.Bilinear(6, 6, 4), nn.Linear(4, 3)

    def forward(self, x):
        x, _ = self.first(x)
        return self.head(F.relu(self.both(F.relu(x), x)))


class Standardised(nn.Conv2d):
    """Makes its weight's rows have mean 0 and deviation 1, so that a factor on them does nothing."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "shape", "names", "left", "why"),
    [
        (Twice, (60, 5), ["first"], ["again"], "run several times in a pass"),
        (Tied, (60, 5), ["free"], ["a", "b", "hand", "listed"], "share their weight"),
        (Halves, (60, 5), ["first"], ["both"], "maps that are no modules of their own"),
        (Seldom, (60, 5), ["first"], ["never"], "did not run"),
        (Attention, (20, 4, 6), ["up"], ["attention", "attention.out_proj"], "maps that are no modules of their own"),
        (Recurrent, (20, 4, 6), ["up"], ["cell"], "maps that are no modules of their own"),
        (Scripted, (20, 5), ["up"], ["body.0", "body.2"], "recurrent layers and scripts"),
        (Apart, (60, 5), ["both"], ["first"], "does not follow from their weight and bias alone"),
        (
            lambda: Net(Standardised(4, 6, 3), nn.Conv2d(6, 5, 2), width=5),
            (20, 4, 6, 6), ["layers.1"], ["layers.0"], "does not follow from their weight and bias alone",
        ),
        (
            lambda: Net(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3)), nn.Conv2d(6, 5, 2), width=5),
            (20, 4, 6, 6), ["layers.1"], ["layers.0"], "computed from others in every pass",
        ),
        (
            lambda: Net(nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3)), nn.Conv2d(6, 5, 2), width=5),
            (20, 4, 6, 6), ["layers.1"], ["layers.0"], "computed from others in every pass",
        ),
        (
            lambda: Net(nn.utils.spectral_norm(nn.Conv2d(4, 6, 3)), nn.Conv2d(6, 5, 2), width=5),
            (20, 4, 6, 6), ["layers.1"], ["layers.0"], "computed from others in every pass",
        ),
    ],
)  # fmt: skip
def test_what_one_map_cannot_correct_is_left_as_it_is_and_named_with_the_reason(make, shape, names, left, why):
    prepared, weights, points = require_between(make, inputs_of(*shape), names, left=left)
    kept = [name for name in weights if name.startswith(tuple(f"{module}." for module in left))]
    require_own(weights, points, kept)
    assert any(why in note for note in prepared.notes)


class Heads(nn.Module):
    """Two output layers, one seen through a softmax and one through a view."""

    def __init__(self):
        super().__init__()
        self.body, self.one, self.two = nn.Linear(5, 6), nn.Linear(6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = self.body(x)
        return {"logits": F.log_softmax(self.one(x), 1), "more": self.two(F.relu(x)).view(-1, 2, 2)}


def test_output_layers_are_not_corrected():
    _, weights, points = require_between(Heads, inputs_of(60, 5), ["body"])
    require_own(weights, points, ["one.weight", "one.bias", "two.weight", "two.bias"])
