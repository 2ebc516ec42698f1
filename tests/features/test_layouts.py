"""Layouts read from two small passes: every kind of module, in any order of axes."""

import pytest
import torch
from torch import nn

from connectivity_hooks.features.observation import Observation
from connectivity_hooks.tasks import LOSSES, CachedSplit

N = 7


class Shaped(nn.Module):
    """A module that only changes the order of axes."""

    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


class Last(nn.Module):
    """A mean over all axes but those of samples and neurons, then a linear layer."""

    def __init__(self, width, samples=0, neurons=-1):
        super().__init__()
        self.fc, self.samples, self.neurons = nn.Linear(width, 3), samples, neurons

    def forward(self, x):
        return self.fc(x.movedim((self.samples, self.neurons), (0, 1)).flatten(2).mean(2))


class Block(nn.Module):
    """ConvNeXt's: channels last inside, channels first outside."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        self.drop = nn.Dropout()

    def forward(self, x):
        inner = self.fc2(self.act(self.fc1(self.norm(self.conv(x).permute(0, 2, 3, 1)))))
        return x + self.drop(inner).permute(0, 3, 1, 2)


class Gated(nn.Module):
    """A linear layer over tokens, between layers over channels."""

    def __init__(self, tokens, width):
        super().__init__()
        self.norm, self.mix, self.act = nn.LayerNorm(width), nn.Linear(tokens, tokens + 2), nn.ReLU()
        self.back = nn.Linear(tokens + 2, tokens)

    def forward(self, x):
        return x + self.back(self.act(self.mix(self.norm(x).transpose(1, 2)))).transpose(1, 2)


class Recurrent(nn.Module):
    def __init__(self, kind, *, first):
        super().__init__()
        self.memory, self.drop = kind(4, 6, batch_first=first), nn.Dropout()
        self.first = first

    def forward(self, x):
        return self.drop(self.memory(x if self.first else x.transpose(0, 1))[0])


CASES = {
    "1-d convolutions": (
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), Last(8, 0, 1)),
        (4, 20),
        {"0": 8, "1": 8, "2": 8, "3": 8, "0:input": 4, "3:input": 8, "4:input": 8},
    ),
    "as many positions as channels": (
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 1), nn.ReLU(), Last(8, 0, 1)),
        (4, 10),
        {"0": 8, "1": 8, "2:input": 8, "3": 8},
    ),
    "tokens": (
        nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(), Last(8)),
        (5, 4),
        {"0": 8, "1": 8, "2": 8, "3": 8, "0:input": 4, "4:input": 8},
    ),
    "convnext": (
        nn.Sequential(nn.Conv2d(3, 6, 2, 2), Block(6), Last(6, 0, 1)),
        (3, 12, 12),
        {"0": 6, "1": 6, "1.conv": 6, "1.norm": 6, "1.fc1": 12, "1.act": 12, "1.drop": 6, "1.fc2:input": 12},
    ),
    "channels last": (
        nn.Sequential(nn.Conv2d(3, 6, 2, 2), Shaped(0, 2, 3, 1), nn.ReLU(), nn.LayerNorm(6), nn.Identity(), Last(6)),
        (3, 12, 12),
        {"1": 6, "2": 6, "3": 6, "4": 6, "1:input": 6, "2:input": 6},
    ),
    "a layer over tokens": (
        nn.Sequential(nn.Linear(4, 8), Gated(5, 8), nn.ReLU(), Last(8)),
        (5, 4),
        {"1": 8, "1.mix": 7, "1.act": 7, "1.mix:input": 5, "1.norm": 8, "2": 8},
    ),
    "sequence first": (
        nn.Sequential(
            Shaped(1, 0, 2), nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2, 12, dropout=0), nn.ReLU(), Last(8, 1)
        ),
        (5, 4),
        {"1": 8, "2": 8, "3": 8, "2.linear1": 12, "2.dropout": 12, "2.self_attn": 8, "2:input": 8},
    ),
    "raw data": (nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3), Last(4, 0, 1)), (3, 9, 9), {"0": 3, "0:input": 3}),
    **{
        f"{kind.__name__}, batch first {first}": (
            nn.Sequential(Recurrent(kind, first=first), Last(6, 0 if first else 1)),
            (5, 4),
            {"0": 6, "0.memory": 6, "0.drop": 6, "0.memory:input": 4},
        )
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for first in (True, False)
    },
}


@pytest.mark.parametrize("case", CASES)
def test_every_layer_has_the_neurons_of_its_weights(case):
    model, shape, widths = CASES[case]
    for samples in (N, *shape):  # as many samples as any other axis is long
        found = observation(model, shape, list(widths), samples)
        assert found.widths() == widths, found.problems
        assert all(len(features) == samples for features in map(found.features, widths))


def observation(model, shape, layers, samples=N, **options):
    x = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0))
    split = CachedSplit("train", x, torch.arange(samples) % 3)
    return Observation(model.eval(), split, LOSSES["cross-entropy"], layers, **options)


class Standardised(nn.Conv2d):
    """A convolution as timm's: derived from PyTorch's, with a forward of its own."""

    def forward(self, x):
        weight = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias, self.stride)


def test_a_convolution_of_another_library_on_raw_data():
    model = nn.Sequential(Standardised(3, 4, 3), nn.ReLU(), Last(4, 0, 1))
    assert observation(model, (3, 9, 9), ["0:input", "0", "1"]).widths() == {"0:input": 3, "0": 4, "1": 4}


class Unclear(nn.Module):
    """Data that reaches no weights as tokens or maps: nothing says which axis is what."""

    def __init__(self):
        super().__init__()
        self.raw, self.head = nn.Identity(), Last(4, 0, 2)

    def forward(self, x):
        return self.head(self.raw(x))


def test_where_nothing_tells_the_neurons_a_layout_is_asked_for():
    seen = observation(Unclear(), (5, 4), ["raw", "head"])
    assert set(seen.widths()) == {"head"}
    assert (
        "which axis of its output (3, 5, 4) are the neurons cannot be told; name it: axes= (--axes LAYER=NTC)"
        in seen.why_not("raw")
    )
    for named, width in (("NTC", 4), ("NCT", 5), (["raw=NCC"], 20), ({"r*": "NTC"}, 4)):
        assert observation(Unclear(), (5, 4), ["raw", "head"], axes=named).widths()["raw"] == width


def test_a_layout_that_was_named_is_taken_against_what_was_read():
    model = CASES["tokens"][0]
    assert observation(model, (5, 4), ["2"], axes="NCT").widths() == {"2": 5}
    wrong = observation(model, (5, 4), ["2"], axes={"2": "TNC"})
    assert not wrong.widths()
    assert "layout LNC was named for it, and axis 0 of its shape (3, 5, 8) counts the samples" in wrong.why_not("2")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch.jit
def test_a_part_that_cannot_be_followed_is_told_by_its_weights():
    scripted = torch.jit.trace(nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU()), torch.randn(2, 4, 20))
    model = nn.Sequential(scripted, nn.Identity(), nn.Conv1d(8, 6, 3), nn.ReLU(), Last(6, 0, 1))
    assert observation(model, (4, 20), ["1", "2", "3"]).widths() == {"1": 8, "2": 6, "3": 6}
