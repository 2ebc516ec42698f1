"""The certified builder names the cause a person knows, its module, the step, and a builder that works."""

from dataclasses import replace

import pytest
import torch
from small_networks import certified, mlp, vector_task
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.network.reading import read_network


class Named(nn.Module):
    """A module under a name, between two linear maps."""

    def __init__(self, inner, width=6):
        super().__init__()
        self.up, self.inner, self.down = nn.Linear(4, width), inner, nn.Linear(width, 3)

    def forward(self, x):
        x = self.inner(self.up(x))
        return self.down(x)


class Attention(nn.Module):
    def __init__(self, fused):
        super().__init__()
        self.fused = fused

    def forward(self, x):
        x = x.view(len(x), 3, 2)
        if self.fused:
            return F.scaled_dot_product_attention(x, x, x).flatten(1)
        return ((x @ x.mT).softmax(-1) @ x).flatten(1)


class RMSNorm(nn.Module):
    def forward(self, x):
        return x * x.pow(2).mean(1, keepdim=True).rsqrt()


class Positions(nn.Module):
    """A flatten that does not fit, in front of what a person would name."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(x.view(len(x), 2, 3)).flatten(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(6, 6, batch_first=True)

    def forward(self, x):
        return self.cell(x[:, None])[0][:, 0]


class Computed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(6, 6))

    def forward(self, x):
        return F.linear(x, self.weight * 2)


class Joined(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :3], x[:, 3:]], 1)


class Written(nn.Module):
    def forward(self, x):
        x[:, 0] = 0
        return x


class Branching(nn.Module):
    def forward(self, x):
        return x if x.max() > 0 else -x


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (nn.LayerNorm(6), r"inner \(LayerNorm\) is a layer norm, which normalises over neurons.* \(aten.layer_norm\);"),
        (nn.GroupNorm(2, 6), r"inner \(GroupNorm\) is a group norm, which normalises over groups"),
        (RMSNorm(), r"inner \(RMSNorm\) is an RMS norm"),
        (nn.BatchNorm1d(6, track_running_stats=False), r"inner \(BatchNorm1d\) is a batch norm without running"),
        (Attention(True), r"inner \(Attention\) is softmax attention, whose scores every neuron enters .*; the first "),
        (Attention(False), r"inner \(Attention\) is softmax attention"),
        (nn.Softmax(1), r"inner \(Softmax\) is a softmax"),
        (Recurrent(), r"inner.cell \(GRU\) is a recurrent layer"),
        (
            Positions(),
            r"inner.norm \(LayerNorm\) is a layer norm.*the first step that does not fit is aten.view \(inner\)",
        ),
        (nn.Sequential(nn.Unflatten(1, (6, 1)), nn.Linear(1, 6)), r"aten.\w+ \(inner.0\)"),
        (Computed(), r"aten.mul \(inner.weight\) makes a weight of other weights"),
        (Joined(), r"aten.slice \(inner\) does not act neuron by neuron"),
        (nn.Unflatten(1, (2, 3)), r"aten.(view|unflatten) \(inner\) does not act neuron by neuron"),
    ],
)
def test_the_cause_is_named(inner, words):
    model = Named(inner)
    if isinstance(inner, nn.Unflatten):
        model.down = nn.Linear(3, 3)
    with pytest.raises(InputError, match=words) as error:
        read_network(read_program(model.eval(), torch.randn(2, 4)))
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; use --builder linear, whose barrier is measured")


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (Written, r"aten.select \(inner\) does not act neuron by neuron"),
        (Branching, r"inner \(Branching, test_refusals.py:\d+\): it decides by values it computes"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_builder_with_another_one(inner, words):
    generator = torch.Generator().manual_seed(0)
    split = CachedSplit("train", torch.randn(20, 4, generator=generator), torch.arange(20) % 3)
    task = Task(lambda: Named(inner()), split)
    weights = task.model().state_dict()
    with pytest.raises(InputError, match=words) as error:
        certified().build(weights, weights, task)
    assert str(error.value).startswith("builder certified: ")
    assert str(error.value).endswith("; use --builder linear, whose barrier is measured")


def test_inputs_of_one_number_are_refused():
    class Scalar(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(1, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.down(torch.relu(self.up(x[:, None])))

    with pytest.raises(InputError, match=r"builder certified: aten\.unsqueeze"):
        read_network(read_program(Scalar(), torch.randn(4)))
    with pytest.raises(InputError, match="found one number a sample"):
        read_network(read_program(nn.ReLU(), torch.randn(4)))


def test_a_chain_is_read_as_before():
    task = vector_task(lambda: mlp(8, 8))
    model = task.model()
    network = read_network(read_program(model, torch.randn(2, 10)))
    assert len(network.cuts) == 3


def test_a_task_is_read_once_however_many_pairs_it_connects(monkeypatch):
    task, exports, export = vector_task(lambda: mlp(8, 8)), [], torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *args, **how: exports.append(1) or export(*args, **how))
    first = read_task(task.model().state_dict(), task)
    assert read_task(task.model().state_dict(), replace(task, batch_size=7)).program is first.program
    assert len(exports) == 1
    assert read_task(task.model().state_dict(), replace(task, factory=lambda: mlp(4, 4))).program is not first.program
    assert len(exports) == 2


def test_a_linear_map_of_tokens_is_named_as_one():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with pytest.raises(InputError, match=r"aten.linear \(0.weight\) maps the last of several axes"):
        read_network(read_program(model, torch.randn(2, 5, 4)))
