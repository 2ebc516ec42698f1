"""What modules say of their axes, where one batch alone was seen."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.layout import Layout
from connectivity_hooks.features.module_axes import batch_first, layout_by_module, made_by, read_by


class MapsNormalised(nn.LayerNorm):
    """A layer norm over the channels of maps: derived from PyTorch's, and not what that computes."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


SAID = [
    (nn.Conv1d(3, 4, 1), 3, 1),
    (nn.ConvTranspose2d(3, 4, 1), 4, 1),
    (nn.BatchNorm2d(4), 4, 1),
    (nn.InstanceNorm1d(4), 3, 1),
    (nn.GroupNorm(2, 4), 5, 1),
    (nn.Linear(3, 4), 4, 3),
    (weight_norm(nn.Linear(3, 4)), 3, 2),
    (nn.LayerNorm(4), 4, 3),
    (nn.RMSNorm(4), 3, 2),
    (nn.LSTM(3, 4), 3, 2),
    (nn.MultiheadAttention(4, 2), 3, 2),
    (nn.TransformerDecoderLayer(4, 2), 3, 2),
    (nn.LayerNorm((4, 5, 5)), 4, None),
    (MapsNormalised(4), 4, None),
    (nn.ReLU(), 4, None),
    (nn.AvgPool2d(2), 4, None),
    (nn.Sequential(nn.Linear(3, 4)), 3, None),
]


@pytest.mark.parametrize(("module", "ndim", "axis"), SAID)
def test_kinds_say_where_their_neurons_are(module, ndim, axis):
    assert made_by(module, ndim) == axis
    assert read_by(module, ndim) == axis


def test_an_embedding_reads_no_neurons():
    assert made_by(nn.Embedding(5, 4), 3) == 2
    assert read_by(nn.Embedding(5, 4), 3) is None


class Encoder(nn.Module):
    def __init__(self, *, first):
        super().__init__()
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=first), 1, enable_nested_tensor=False
        )
        self.stem = nn.Sequential(nn.Conv1d(4, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.memory, self.head = nn.GRU(8, 6, batch_first=first), nn.Linear(6, 3)


@pytest.mark.parametrize("first", [True, False])
def test_batch_first_is_asked_of_the_module_and_those_around_and_inside(first):
    model = Encoder(first=first)
    for layer in (
        "memory",
        "encoder",
        "encoder.layers.0.self_attn",
        "encoder.layers.0.linear1",
        "memory:input",
        "encoder[0]",
    ):
        assert batch_first(model, layer) is first
    assert batch_first(model, "head") is None


@pytest.mark.parametrize("first", [True, False])
def test_batch_first_is_asked_of_the_model_itself(first):
    model = nn.TransformerEncoderLayer(8, 2, 12, batch_first=first)
    assert batch_first(model, "linear1") is first
    assert layout_by_module(model, "linear1", (5, 5, 12), 5) == Layout(0 if first else 1, (2,))


CASES = [
    ("encoder.layers.0", (5, 4, 8), 4, Layout(1, (2,))),
    ("encoder.layers.0", (5, 5, 8), 5, Layout(1, (2,))),
    ("memory", (5, 5, 6), 5, Layout(1, (2,))),
    ("memory:input", (7, 5, 8), 5, Layout(1, (2,))),
    ("stem.0", (5, 8, 7), 5, Layout(0, (1,))),
    ("stem.2", (5, 8, 7), 5, Layout(0, (1,))),
    ("stem.2", (5, 8, 8), 5, Layout(0, (1,))),
    ("stem", (5, 8, 7), 5, Layout(0, (1,))),
    ("stem:input", (5, 4, 7), 5, None),
    ("stem.0:input", (5, 4, 7), 5, Layout(0, (1,))),
    ("encoder.layers.0.dropout", (9, 5, 12), 5, Layout(1, (2,))),
    ("encoder.layers.0.dropout", (5, 5, 12), 5, Layout(1, (2,))),
    ("encoder.layers.0.linear2:input", (5, 5, 12), 5, Layout(1, (2,))),
    ("head", (5, 3), 5, Layout(0, (1,))),
    ("head", (3, 5), 5, Layout(1, (0,))),
]


@pytest.mark.parametrize(("layer", "shape", "samples", "layout"), CASES)
def test_one_batch_alone_tells_the_axes_or_is_refused(layer, shape, samples, layout):
    model = Encoder(first=False)
    if layout is None:
        with pytest.raises(InputError, match=r"which axis .* cannot be told; name it: axes= \(--axes"):
            layout_by_module(model, layer, shape, samples)
    else:
        assert layout_by_module(model, layer, shape, samples) == layout


def test_rows_that_are_no_samples_are_refused():
    with pytest.raises(InputError, match=r"expected 4 rows for a batch of 4 samples, found 12 in its shape \(12, 3\)"):
        layout_by_module(Encoder(first=True), "head", (12, 3), 4)


def test_a_kind_derived_by_another_library_is_told_by_its_weights():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), MapsNormalised(6), nn.Identity())
    with torch.no_grad():
        shape = model(torch.zeros(2, 3, 5, 5)).shape
    for layer in ("1", "2"):
        assert layout_by_module(model, layer, shape, 2) == Layout(0, (1,))
