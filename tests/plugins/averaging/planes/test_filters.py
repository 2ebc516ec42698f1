"""What moves in a slice, and along which axis: decided by the kind of module, under parametrizations too."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations as new

from connectivity_hooks_averaging.planes.directions import random_directions
from connectivity_hooks_averaging.planes.filters import Filters, filters_of


class Conv1D(nn.Module):
    """Laid out as that of Transformers."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))


class OwnRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4, 1))


class OwnGRN(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 1, 4))


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.position_bias_table = nn.Parameter(torch.randn(5, 2))
        self.tokens = nn.Parameter(torch.randn(3, 4))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.LayerNorm((3, 4)), {}),
        (OwnRMSNorm(), {}),
        (OwnGRN(), {}),
        (Biased(), {"tokens": Filters(0)}),
        (nn.Embedding(3, 2), {"weight": Filters(0)}),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), {"in_proj_weight": Filters(0), "out_proj.weight": Filters(0)}),
        (Conv1D(6, 4), {"weight": Filters(1)}),
        (Conv1D(4, 4), {"weight": Filters(1)}),
        (new.spectral_norm(Conv1D(6, 4)), {"parametrizations.weight.original": Filters(1)}),
        (nn.ConvTranspose1d(4, 8, 3, groups=2), {"weight": Filters(1, 2)}),
        (new.spectral_norm(nn.ConvTranspose1d(4, 8, 3)), {"parametrizations.weight.original": Filters(1)}),
        (nn.utils.spectral_norm(nn.ConvTranspose1d(4, 8, 3)), {"weight_orig": Filters(1)}),
        (new.weight_norm(nn.ConvTranspose1d(4, 8, 3)), {"parametrizations.weight.original1": Filters(1)}),
        (new.weight_norm(nn.Linear(1, 5)), {"parametrizations.weight.original1": Filters(0)}),
        (new.spectral_norm(nn.LayerNorm((3, 4))), {}),
    ],
)
def test_filters_go_by_the_kind_of_module(module, expected):
    assert filters_of(module) == expected
    assert filters_of(nn.Sequential(module)) == {f"0.{name}": each for name, each in expected.items()}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lengths_of_the_older_weight_norm_stay():
    assert filters_of(nn.utils.weight_norm(nn.Linear(3, 5))) == {"weight_v": Filters(0)}


def test_channels_of_a_transposed_convolution_in_groups_are_as_long_as_its_own():
    layer = nn.ConvTranspose1d(4, 6, 3, groups=2)
    with torch.no_grad():
        layer.weight[2:] *= 10
    (direction,) = random_directions(layer, layer.state_dict(), 1, seed=0)
    for inputs in (slice(0, 2), slice(2, 4)):
        for channel in range(3):
            own, found = layer.weight.detach()[inputs, channel], direction["weight"][inputs, channel]
            assert float(found.norm()) == pytest.approx(float(own.norm()), rel=1e-5)


def test_under_weight_norm_filters_keep_their_length():
    layer = new.weight_norm(nn.Linear(3, 5))
    before = layer.weight.detach().norm(dim=1)
    weights = layer.state_dict()
    (direction,) = random_directions(layer, weights, 1, seed=0)
    layer.load_state_dict(weights | {key: weights[key] + each for key, each in direction.items()})
    assert layer.weight.norm(dim=1).tolist() == pytest.approx(before.tolist(), rel=1e-5)
