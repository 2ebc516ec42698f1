"""Networks in which an axis has the length of the neurons and is not theirs: their changes must be seen to get through.

Each has equal lengths on purpose, so that a reading by lengths alone would take one axis for another.
"""

import pytest
import torch
from torch import nn

from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.structure import read_program
from connectivity_hooks.verification.reach import changed_outputs


class Tokens(nn.Module):
    """A linear map of each of 4 tokens of 4 neurons; the head reads all tokens but the first."""

    def __init__(self):
        super().__init__()
        self.token, self.head = nn.Linear(4, 4), nn.Linear(16, 3)
        with torch.no_grad():
            self.head.weight[:, :4] = 0

    def forward(self, x):
        return self.head(self.token(x).relu().flatten(1))


class PooledNeurons(nn.Module):
    """Pools of three neighbouring neurons: an input without channels is taken for one without a batch."""

    def __init__(self):
        super().__init__()
        self.hidden, self.pool, self.head = nn.Linear(5, 6), nn.MaxPool1d(3, 1, 1), nn.Linear(6, 3)
        with torch.no_grad():
            self.head.weight[:, 0] = 0

    def forward(self, x):
        return self.head(self.pool(self.hidden(x)))


class PooledRows(nn.Module):
    """Averages over rows of a map without channels."""

    def __init__(self):
        super().__init__()
        self.hidden, self.pool, self.head = nn.Linear(6, 6), nn.AvgPool2d(3, 1, 1), nn.Linear(36, 3)
        with torch.no_grad():
            self.head.weight[:, :6] = 0

    def forward(self, x):
        return self.head(self.pool(self.hidden(x)).flatten(1))


class NormOverTokens(nn.Module):
    """Batch norm takes the second axis for channels; here these are tokens."""

    def __init__(self):
        super().__init__()
        self.token, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(16, 3)
        with torch.no_grad():
            self.head.weight[:, :4] = 0

    def forward(self, x):
        return self.head(self.norm(self.token(x)).flatten(1))


class AddedAcross(nn.Module):
    """A vector added to every token: its neurons are the tokens' neurons, not the tokens."""

    def __init__(self):
        super().__init__()
        self.vector, self.head = nn.Linear(4, 4), nn.Linear(16, 3)
        with torch.no_grad():
            self.head.weight[:, :4] = 0

    def forward(self, x):
        return self.head((self.vector(x[:, 0])[:, None] + x).flatten(1))


@pytest.mark.parametrize(
    ("make", "shape", "name"),
    [
        (Tokens, (4, 4), "token.bias"),
        (PooledNeurons, (5,), "hidden.bias"),
        (PooledRows, (6, 6), "hidden.bias"),
        (NormOverTokens, (4, 4), "token.bias"),
        (AddedAcross, (4, 4), "vector.bias"),
    ],
)
def test_a_change_of_the_first_neuron_gets_through(make, shape, name):
    model = make().eval()
    inputs = torch.randn(3, *shape)
    before = {key: tensor.clone() for key, tensor in weights_of(model).items()}
    after = {**before, name: before[name].clone()}
    after[name][0] += 5
    with torch.no_grad():
        outputs = [torch.func.functional_call(model, weights, inputs) for weights in (before, after)]
    assert not torch.equal(*outputs)
    changes, names = changed_outputs(read_program(model, inputs[:2]), before, after)
    assert changes
    assert names == [name]
