"""What image models are made of: which group each of their spaces has, by name, and that a larger one would not hold.

Random elements are applied to random weights, which run through the module itself in float64.
"""

import math

import pytest
import timm
import torch
from symmetry_trials import by_weight, derived, larger_that_hold, titles
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.structure.symmetries import folded, unfolded
from connectivity_hooks.structure.symmetries.drawing import random_weights
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, O1, SCALED, SIGNED, O, S

IMAGES, TOKENS = torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3),
        nn.Flatten(), nn.Linear(80, 3),
    )  # fmt: skip


def normalised():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.Flatten(),
        nn.Linear(20, 3),
    )  # fmt: skip


class Depthwise(nn.Module):
    """Batch norm before and after a kernel of each channel; both values are read further."""

    def __init__(self):
        super().__init__()
        self.one, self.first = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.kernel, self.second = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(self.one(x)).relu()
        return self.out(torch.cat([x, self.second(self.kernel(x)).relu()], 1).mean((2, 3)))


class Streams(nn.Module):
    """A stream with a norm at the head of each branch and a scale at its end."""

    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.first, self.norm, self.after, self.out = nn.Linear(6, 8), norm(8), norm(8), nn.Linear(8, 3)
        self.up, self.down = nn.Linear(8, 5), nn.Linear(5, 8)
        self.scale = nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x):
        x = self.first(x)
        x = x + self.scale * F.dropout(self.down(F.gelu(self.up(self.norm(x)))), 0.1, self.training)
        return self.out(self.after(x).mean(1))


class Shared(Streams):
    """A branch whose end is read before the scale too, so that nothing can take the scale over."""

    def forward(self, x):
        x = self.first(x)
        branch = self.down(F.gelu(self.up(self.norm(x))))
        return self.out(self.after(x + self.scale * branch + branch).mean(1))


class Cast(Streams):
    """An RMS norm whose weight is cast first, as others do in float32, and whose value is added to its input."""

    def forward(self, x):
        x = self.first(x)
        normed = F.rms_norm(x.float(), (8,), self.norm.weight.float(), 1e-6).type_as(x)
        return self.out((normed + x).mean(1))


class OneGroup(nn.Module):
    """A norm of all channels and pixels as one group, read by a map that has zeros beside its input."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.out = nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        return self.out(self.norm(self.first(x))).mean((2, 3))


class Merged(nn.Module):
    """Four tokens beside each other under one norm, whose γ has four entries for a neuron."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.out = nn.Linear(6, 4), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.norm(self.first(x[:, :4]).flatten(1)))


class UnlikeHeads(nn.Module):
    """Heads in parts of unlike number, each with a convolution of its own, put together again."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Conv2d(3, 28, 1), nn.Linear(4, 3)
        self.small, self.large = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(16, 16, 5, padding=2, groups=16)

    def forward(self, x):
        x = self.first(x).reshape(2, 7, 4, 36).reshape(2, 28, 6, 6)
        small, large = x.split([12, 16], 1)
        x = torch.cat([self.small(small), self.large(large)], 1).reshape(2, 7, 4, 36).sigmoid()
        return self.out(x.sum(1).mean(-1))


class OneToken(nn.Module):
    """Windows of one token, whose queries, keys and values are told apart all the same."""

    def __init__(self):
        super().__init__()
        self.first, self.qkv, self.out = nn.Linear(6, 8), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        x = F.gelu(self.first(x)).reshape(10, 1, 8)
        q, k, v = self.qkv(x).reshape(10, 1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        attended = (q @ k.mT).sigmoid() @ v
        return self.out(attended.transpose(1, 2).reshape(2, 5, 8).mean(1))


class Repeated(nn.Module):
    """Neurons of one map for each of several samples of another."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.out = nn.Linear(6, 7), nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        each = self.other(x.mean(1)).repeat_interleave(5, dim=0).reshape(2, 5, 7)
        return self.out((self.one(x) + each).mean(1))


class Recurrent(nn.Module):
    """A recurrent layer of both directions, behind a map and before one."""

    def __init__(self, kind, layers=1, last=False):
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.cells = kind(4, 5, layers, bidirectional=not last, batch_first=True)
        self.last, self.out = last, nn.Linear(5 if last else 10, 3)

    def forward(self, x):
        values, state = self.cells(self.first(x))
        return self.out(state[-1] if self.last else values.mean(1))


class Indexed(nn.Module):
    """A table of numbers among the buffers that says which entries of another table are read."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(6, 4), nn.Linear(4, 3)
        self.table = nn.Parameter(torch.randn(4, 9))
        self.register_buffer("places", torch.arange(25).reshape(5, 5) % 9)

    def forward(self, x):
        return self.out(torch.einsum("btc,cst->bsc", self.first(x), self.table[:, self.places]).tanh().mean(1))


class Places(nn.Module):
    """Coordinates that are written one by one into a tensor of zeros, and mapped as values are."""

    def __init__(self):
        super().__init__()
        self.first, self.of_places, self.out = nn.Linear(6, 4), nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        places = torch.zeros(1, 5, 2, dtype=self.first.weight.dtype)
        places[:, :, 0] = torch.arange(5)
        places[:, :, 1] = torch.arange(5) ** 2
        return self.out((self.first(x) * self.of_places(places.expand(len(x), -1, -1)).sigmoid()).mean(1))


class Bounded(Streams):
    """A clamp that is off: its bounds are infinite buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("least", torch.tensor(-torch.inf))
        self.register_buffer("most", torch.tensor(torch.inf))

    def forward(self, x):
        return self.out(torch.clamp(self.after(self.first(x)), self.least, self.most).mean(1))


CASES = {
    "places": (Places, TOKENS, {"first.weight": S}),
    "infinite bounds": (Bounded, TOKENS, {"first.weight": S}),
    "convolutions": (convolutions, IMAGES, {"0.weight": SCALED, "2.weight": SCALED, "4.weight": GL}),
    "batch norm": (normalised, IMAGES, {"0.weight": SCALED, "3.weight": MONOMIAL}),
    "depthwise": (Depthwise, IMAGES, {"one.weight": SCALED}),
    "scales of branches": (Streams, TOKENS, {"first.weight": O1, "up.weight": S}),
    "a scale that cannot be folded": (Shared, TOKENS, {"first.weight": S, "up.weight": S}),
    "RMS norm, branches": (lambda: Streams(nn.RMSNorm), TOKENS, {"first.weight": O, "up.weight": S}),
    "γ that is cast": (lambda: Cast(nn.RMSNorm), TOKENS, {"first.weight": SIGNED}),
    "one group": (OneGroup, IMAGES, {"first.weight": O1}),
    "four entries of γ": (Merged, TOKENS, {"first.weight": O1}),
    "heads of unlike parts": (UnlikeHeads, IMAGES, {}),
    "repeated samples": (Repeated, TOKENS, {"other.weight": GL}),
    "LSTM": (lambda: Recurrent(nn.LSTM), TOKENS, {"first.weight": GL}),
    "GRU of two layers": (lambda: Recurrent(nn.GRU, 2), TOKENS, {"first.weight": GL}),
    "last state": (lambda: Recurrent(nn.LSTM, last=True), TOKENS, {"first.weight": GL}),
    "last state of two layers": (lambda: Recurrent(nn.RNN, 2, last=True), TOKENS, {"first.weight": GL}),
    "an index": (Indexed, TOKENS, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_random_elements_of_every_group_hold_and_those_of_larger_ones_do_not(name):
    make, x, expected = CASES[name]
    model, symmetries = derived(make, x)
    assert symmetries.symmetries
    for space, group in expected.items():
        assert next(each.group for each in symmetries.symmetries if each.name == space) == group, space
    for each in symmetries.symmetries:
        assert not larger_that_hold(model, symmetries, each, x), (each.name, each.title)


@pytest.mark.parametrize("name", ["scales of branches", "four entries of γ", "one group"])
def test_folded_scales_are_ones_and_are_taken_out_again(name):
    make, x, _ = CASES[name]
    model, symmetries = derived(make, x)
    scales = [scale for each in symmetries.symmetries for scale in each.scales]
    weights = random_weights(dict(model.state_dict()), torch.Generator().manual_seed(1))
    found = folded(symmetries, weights)
    assert scales
    assert all(bool((found[scale.scale] == 1).all()) for scale in scales)
    like = random_weights(dict(model.state_dict()), torch.Generator().manual_seed(2))
    for taken in (found, unfolded(symmetries, found, weights), unfolded(symmetries, found, like)):
        with torch.no_grad():
            outputs = [torch.func.functional_call(model, given, x.double()) for given in (weights, taken)]
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(taken[scale.scale], like[scale.scale]) for scale in scales)


def test_units_of_both_directions_and_of_each_layer_are_moved_by_themselves():
    make, x, _ = CASES["LSTM"]
    _, symmetries = derived(make, x)
    widths = {each.name: each.width for each in symmetries.symmetries}
    assert widths == {"first.weight": 4, "cells.weight_ih_l0": 5, "cells.weight_ih_l0_reverse": 5}
    assert symmetries.coverage == pytest.approx(1 - 3 / sum(map(math.prod, symmetries.shapes.values())))  # out.bias


def test_queries_keys_and_values_of_windows_of_one_token_are_told_apart():
    _, symmetries = derived(OneToken, TOKENS)
    assert titles(symmetries, "qkv.weight", 0) == ["S", "O × 2", "GL × 2"]
    assert symmetries.coverage > 0.98


def test_what_a_table_of_numbers_chooses_stays():
    make, x, _ = CASES["an index"]
    _, symmetries = derived(make, x)
    assert "places" not in symmetries.moving


@pytest.mark.parametrize(
    ("name", "more", "stream"),
    [
        ("test_vit", {"img_size": 32, "init_values": 0.1}, "O₁"),
        ("test_resnet", {}, "Mon₊"),
        ("test_efficientnet", {}, "S"),
    ],
)
def test_small_models_of_timm_are_covered_and_hold(name, more, stream):
    def make():
        return timm.create_model(name, num_classes=4, **more)

    _, symmetries = derived(make, torch.randn(2, 3, 32, 32))
    assert symmetries.coverage > 0.99
    first = next(weight for weight in symmetries.shapes if len(symmetries.shapes[weight]) == 4)
    assert titles(symmetries, first, 0) == [stream]


class PartsOfAStream(nn.Module):
    """A stream of which one part goes as it is, and another through a depthwise convolution, to a batch norm."""

    def __init__(self):
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 12, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.last = nn.BatchNorm2d(12), nn.BatchNorm2d(12)
        self.up, self.down, self.out = nn.Conv2d(12, 9, 1), nn.Conv2d(9, 12, 1), nn.Conv2d(12, 3, 1)

    def forward(self, x):
        y = self.first(x)
        still, mixed = torch.split(y, (8, 4), 1)
        y = y + self.down(F.gelu(self.up(self.norm(torch.cat([still, self.depthwise(mixed)], 1)))))
        return self.out(self.last(y))


def test_factors_of_parts_of_a_stream_are_those_of_the_stream():
    _, symmetries = derived(PartsOfAStream, torch.randn(2, 3, 6, 6))
    assert by_weight(symmetries, "first.weight", 0)
