"""What transformers are made of, in modules of our own: groups hold in float64, and no larger ones do."""

from dataclasses import replace

import pytest
import torch
from symmetry_trials import by_weight, derived, larger_that_hold, titles
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.structure import checked, folded, read_program, read_symmetries, transformed, unfoldable
from connectivity_hooks.structure.symmetries.drawing import random_element, random_weights
from connectivity_hooks.structure.symmetries.groups import O, S

TOKENS = torch.arange(15).view(3, 5) * 4 % 11


class RMSNorm(nn.Module):
    """Computed in float32 whatever the weights are; γ is stored as γ − `added`, and multiplied before the cast back."""

    def __init__(self, width, added=0.0):
        super().__init__()
        self.weight, self.added = nn.Parameter(torch.ones(width) - added), added

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        gamma = self.weight.float()
        return (y * (gamma + self.added if self.added else gamma)).type_as(x)


class LayerNorm(nn.Module):
    """Written out."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        y = x - x.mean(-1, keepdim=True)
        return y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight + self.bias


class Viewed(LayerNorm):
    """With γ and β beside the axes of its input."""

    def forward(self, x):
        y = (x - x.mean(-1, keepdim=True)).transpose(1, 2)
        y = y / torch.sqrt(y.pow(2).mean(1, keepdim=True) + 1e-6)
        return (y * self.weight[:, None] + self.bias.view(-1, 1)).transpose(1, 2)


class Conv1D(nn.Module):
    """A linear map with its weight the other way round, as in GPT-2."""

    def __init__(self, given, made):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(given, made) / 4), nn.Parameter(torch.zeros(made))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class Residual(nn.Module):
    """A stream of 12 neurons, one hidden layer, and a head."""

    def __init__(self, norm, up=nn.Linear, last=None, head=None):
        super().__init__()
        self.table, self.norm = nn.Embedding(11, 12), norm(12)
        self.up, self.down = up(12, 10), up(10, 12)
        self.last = norm(12) if last is None else last
        self.head = nn.Linear(12, 4) if head is None else head

    def forward(self, x):
        x = self.table(x)
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        return self.head(self.last(x))


def plus_one(width):
    return RMSNorm(width, 1.0)


@pytest.mark.parametrize(
    ("norm", "up", "group"),
    [
        (nn.LayerNorm, nn.Linear, "O₁"),
        (nn.LayerNorm, Conv1D, "O₁"),
        (LayerNorm, nn.Linear, "O₁"),
        (Viewed, nn.Linear, "O₁"),
        (RMSNorm, nn.Linear, "O"),
        (plus_one, nn.Linear, "O"),
        (plus_one, Conv1D, "O"),
    ],
)
def test_a_stream_is_rotated_whatever_its_norm_and_maps_are_written_as(norm, up, group):
    model, symmetries = derived(lambda: Residual(norm, up), TOKENS)
    (stream,) = by_weight(symmetries, "table.weight", 1)
    assert stream.title == group
    assert [scale.shift is None for scale in stream.scales] == [norm in (RMSNorm, plus_one)] * 2
    assert all(scale.biases for scale in stream.scales if scale.shift)
    assert not larger_that_hold(model, symmetries, stream, TOKENS)
    (hidden,) = by_weight(symmetries, "down.weight", 0 if up is Conv1D else 1)
    assert hidden.title == "S"
    assert not larger_that_hold(model, symmetries, hidden, TOKENS)


def test_gamma_that_is_stored_less_one_is_folded_as_gamma():
    _, symmetries = derived(lambda: Residual(plus_one), TOKENS)
    weights = {name: torch.randn(shape).double() for name, shape in symmetries.shapes.items()}
    found = folded(symmetries, weights)
    assert {float(value) for value in found["norm.weight"]} == {0.0}
    torch.testing.assert_close(found["up.weight"], weights["up.weight"] * (1 + weights["norm.weight"]))


def test_a_norm_whose_gamma_is_computed_otherwise_is_not_rotated():
    class Squared(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x):
            return F.layer_norm(x, x.shape[-1:], self.weight.square())

    model, symmetries = derived(lambda: Residual(Squared), TOKENS)
    (stream,) = by_weight(symmetries, "table.weight", 1)
    assert stream.title == "S"
    assert not larger_that_hold(model, symmetries, stream, TOKENS)


def test_signs_pass_an_rms_norm_whose_gamma_no_map_can_take_over():
    class Tied(Residual):
        def forward(self, x):
            x = self.table(x)
            x = x + self.down(F.gelu(self.up(self.norm(x))))
            return F.linear(self.last(x), self.table.weight)

    model, symmetries = derived(lambda: Tied(RMSNorm), TOKENS)
    (stream,) = by_weight(symmetries, "table.weight", 1)
    assert stream.title == "S±"
    assert not larger_that_hold(model, symmetries, stream, TOKENS)


def test_factors_pass_a_scale_behind_a_relu():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.gamma, self.down = nn.Linear(6, 8), nn.Parameter(torch.ones(8)), nn.Linear(8, 3)

        def forward(self, x):
            return self.down(self.up(x).relu() * self.gamma)

    x = torch.randn(4, 6)
    model, symmetries = derived(Scaled, x)
    (hidden,) = by_weight(symmetries, "gamma", 0)
    assert hidden.title == "Mon₊"
    assert not larger_that_hold(model, symmetries, hidden, x)


class Pooled(nn.Module):
    """A layer norm, read by way of a mask and a mean, or at one position a sample."""

    def __init__(self, by_place):
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(11, 12), nn.LayerNorm(12), nn.Linear(12, 4)
        self.by_place = by_place

    def forward(self, x):
        y = self.norm(self.table(x))
        if self.by_place:
            return self.head(y[torch.arange(len(x)), x.argmax(-1)])
        kept = (x > 2).to(y.dtype)[..., None]
        return self.head((y * kept).sum(1) / kept.sum(1).clamp(min=1))


@pytest.mark.parametrize(("by_place", "biases"), [(True, ("head.bias",)), (False, ())])
def test_gamma_is_folded_behind_pooling_and_beta_only_where_it_comes_to_every_position(by_place, biases):
    model, symmetries = derived(lambda: Pooled(by_place), TOKENS)
    (stream,) = by_weight(symmetries, "table.weight", 1)
    assert stream.title == "O₁"
    assert stream.scales[0].biases == biases
    assert not larger_that_hold(model, symmetries, stream, TOKENS)
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    weights["norm.weight"][0], weights["norm.bias"][0] = 0, 1
    assert unfoldable(symmetries, weights) == (frozenset() if biases else frozenset({stream.space}))


class Grouped(nn.Module):
    """Attention in which two heads of keys and values serve two queries each; biases of zeros and by gather."""

    def __init__(self, written_out):
        super().__init__()
        self.table, self.written_out = nn.Embedding(11, 12), written_out
        self.q, self.k, self.v, self.o = nn.Linear(12, 24), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(24, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        n, length = x.shape
        x = self.table(x)
        q, k, v = (f(x).view(n, length, -1, 6).transpose(1, 2) for f in (self.q, self.k, self.v))
        if not self.written_out:
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = (y[:, :, None].expand(n, 2, 2, length, 6).reshape(n, 4, length, 6) for y in (k, v))
            bias = torch.zeros(1, 4, length, length, dtype=x.dtype)
            scores = q @ k.transpose(-1, -2) / 6**0.5 + bias
            places = (torch.arange(length)[:, None] - torch.arange(length)).abs().expand(n, 4, length, length)
            y = (scores + torch.gather(scores, -1, places)).softmax(-1) @ v
        return self.head(x + self.o(y.transpose(1, 2).reshape(n, length, 24)).tanh())


@pytest.mark.parametrize("written_out", [True, False])
def test_queries_that_share_a_key_are_exchanged_among_themselves_and_share_what_is_done_inside(written_out):
    model, symmetries = derived(lambda: Grouped(written_out), TOKENS)
    assert set(titles(symmetries, "k.weight", 0)) == {"S", "O × 2"}
    assert set(titles(symmetries, "v.weight", 0)) == {"S", "GL × 2"}
    shared = {"S × 2"} if written_out else set()
    assert set(titles(symmetries, "q.weight", 0)) == {"S", "O × 2"} | shared
    inside = [s for s in symmetries.symmetries if s.copies == 2]
    assert {tuple(m.positions.shape) for s in inside for m in s.members if m.weight == "o.weight"} >= {(2, 2, 6)}
    for symmetry in by_weight(symmetries, "o.weight", 1):
        larger = larger_that_hold(model, symmetries, symmetry, TOKENS)
        # A sign of all of a head is inside it already, and what leaves the sum of two heads exchanges them.
        assert O not in larger if symmetry.width == 2 else not larger


def test_a_number_for_all_neurons_lies_along_ones():
    class Lifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.shift, self.down = nn.Linear(6, 8), nn.Parameter(torch.ones(1)), nn.Linear(8, 3)

        def forward(self, x):
            y = self.up(x)
            return self.down(y + self.shift.expand(8) + torch.ones(8, dtype=y.dtype) + torch.zeros(8, dtype=y.dtype))

    x = torch.randn(4, 6)
    model, symmetries = derived(Lifted, x)
    (hidden,) = by_weight(symmetries, "up.weight", 0)
    assert hidden.title == "O₁"
    assert not larger_that_hold(model, symmetries, hidden, x)


def test_channels_of_a_convolution_with_weight_norm_are_exchanged():
    def make():
        conv = nn.Conv1d(4, 8, 3, padding=1)
        return nn.Sequential(
            nn.Conv1d(3, 4, 1), nn.utils.parametrizations.weight_norm(conv, dim=2), nn.GELU(), nn.Conv1d(8, 2, 1)
        )

    x = torch.randn(3, 3, 9)
    _, symmetries = derived(make, x)
    for axis in (0, 1):
        (channels,) = by_weight(symmetries, "1.parametrizations.weight.original1", axis)
        assert S in channels.group


def test_a_spoiled_copy_is_not_the_same_function():
    model, symmetries = derived(lambda: Residual(plus_one, Conv1D), TOKENS)
    generator = torch.Generator().manual_seed(0)
    weights = random_weights(model.state_dict(), generator)
    moved = transformed(symmetries, weights, {s.space: random_element(s, generator) for s in symmetries.symmetries})
    with torch.no_grad():
        expected, found = (torch.func.functional_call(model, each, (TOKENS,)) for each in (weights, moved))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # float32 inside the norms
        for name in (name for name in symmetries.moving if not torch.allclose(moved[name], weights[name])):
            less = torch.func.functional_call(model, {**moved, name: weights[name]}, (TOKENS,))
            assert float((less - expected).abs().max()) > 1e-3, name


class OneBias(nn.Module):
    """Two norms of one stream whose maps share their bias."""

    def __init__(self):
        super().__init__()
        self.first, self.one, self.other = nn.Linear(6, 8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.up, self.beside, self.down = nn.Linear(8, 7), nn.Linear(8, 7, bias=False), nn.Linear(7, 3)

    def forward(self, x):
        y = self.first(x)
        read = F.linear(self.other(y), self.beside.weight, self.up.bias)
        return self.down((self.up(self.one(y)) + read).relu())


def test_a_bias_that_two_maps_read_takes_no_shift_over():
    _, symmetries = derived(OneBias, torch.randn(4, 6))
    (stream,) = by_weight(symmetries, "first.weight", 0)
    assert stream.title == "O₁"
    assert [scale.biases for scale in stream.scales] == [(), ()]


def test_a_space_whose_scales_do_not_hold_is_demoted_without_them():
    torch.manual_seed(0)
    model, x = OneBias().eval(), torch.randn(4, 6)
    symmetries = read_symmetries(read_program(model, x))
    (stream,) = by_weight(symmetries, "first.weight", 0)
    wrong = replace(stream, scales=tuple(replace(scale, biases=("up.bias",)) for scale in stream.scales))
    found = checked(replace(symmetries, symmetries=(wrong,)), model.double(), x.double())
    assert [(each.title, each.scales) for each in found.symmetries.symmetries] == [("S", ())]
    assert found.refuted == ("first.weight: O₁ was derived, S holds",)
