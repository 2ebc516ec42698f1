"""Neurons are followed through the operations of a pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.features.axis_rules import WEIGHT, viewed
from connectivity_hooks.features.axis_trace import AxisTrace

N, T, D, H = 2, 5, 12, 3


@pytest.mark.parametrize(
    ("before", "after", "axes", "found"),
    [
        ((2, 8, 4, 4), (2, 128), {1}, {1}),
        ((2, 8, 4, 4), (2, 8, 16), {1}, {1}),
        ((2, 5, 36), (2, 5, 3, 3, 4), {2}, {2, 3, 4}),
        ((2, 5, 3, 4), (2, 5, 12), {2, 3}, {2}),
        ((2, 14, 14, 8), (2, 2, 7, 2, 7, 8), {3}, {5}),
        ((8, 49, 8), (2, 2, 2, 7, 7, 8), {2}, {5}),
        ((2, 5, 8), (10, 8), {2}, {1}),
        ((2, 8), (2, 8, 1, 1), {1}, {1}),
        ((2, 8, 1, 1), (2, 8), {1}, {1}),
        ((1, 16, 4, 4), (2, 8, 4, 4), {1}, {0, 1}),
        ((6, 4), (6, 4), set(), set()),
    ],
)
def test_views_merge_and_split_neurons(before, after, axes, found):
    assert viewed(before, after, frozenset(axes)) == found


class Weights(nn.Module):
    """Weights of every kind of use."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear, self.norm = nn.Conv2d(3, D, 1), nn.Linear(D, D), nn.LayerNorm(D)
        self.qkv, self.scale, self.mix = nn.Linear(D, 3 * D), nn.Parameter(torch.ones(D)), nn.Linear(T, T)
        self.token, self.table = nn.Parameter(torch.ones(1, 1, D)), nn.Embedding(7, D)


def attention(net, x):
    q, k, v = net.qkv(x).reshape(N, T, 3, H, D // H).permute(2, 0, 3, 1, 4).unbind(0)
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def fused(net, x):
    q, k, v = net.qkv(x).reshape(N, T, 3, H, D // H).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v)


TOKENS = {
    "linear": (lambda net, x: net.linear(x), {2}),
    "its activation, scaled": (lambda net, x: F.gelu(net.linear(x)) * net.scale, {2}),
    "residual": (lambda net, x: (y := net.linear(x)) + net.mix(y.transpose(1, 2)).transpose(1, 2), {2}),
    "mixed tokens": (lambda net, x: net.mix(x.transpose(1, 2)), {2}),
    "turned": (lambda net, x: net.linear(x).transpose(0, 1), {2}),
    "channels first": (lambda net, x: net.linear(x).movedim(-1, 1), {1}),
    "with a class token": (lambda net, x: torch.cat([net.token.expand(N, -1, -1), net.linear(x)], 1), {2}),
    "heads": (attention, {1, 3}),
    "heads of fused attention": (fused, {1, 3}),
    "heads together": (lambda net, x: attention(net, x).transpose(1, 2).reshape(N, T, D), {2}),
    "mean over tokens": (lambda net, x: net.linear(x).mean(1), {1}),
    "one token": (lambda net, x: net.linear(x)[:, 0], {1}),
    "maps": (lambda net, x: net.linear(x)[:, :4].transpose(1, 2).reshape(N, D, 2, 2), {1}),
    "half of a gate": (lambda net, x: net.linear(x).chunk(2, -1)[0], {2}),
    "einsum": (lambda net, x: torch.einsum("ntd,ed->nte", x, net.linear.weight), {2}),
    "derived weights": (lambda net, x: F.linear(x, net.linear.weight / net.linear.weight.norm()), {2}),
    "stacked": (lambda net, x: torch.stack([net.linear(x), x], 0), {3}),
    "an embedding": (lambda net, x: net.table(torch.zeros(N, T, dtype=torch.long)), {2}),
    "data alone": (lambda net, x: x.transpose(1, 2), None),
    "weights alone": (lambda net, x: net.token.expand(N, T, D), None),
}


def without_samples(axes):
    """Leave out the samples' axis, which a product of many matrices at once merges with the heads."""
    return axes and axes - {0}


@pytest.mark.parametrize("case", TOKENS)
def test_neurons_of_tokens_are_followed(case):
    function, axes = TOKENS[case]
    net = Weights()
    with torch.no_grad(), AxisTrace(net) as trace:
        found = function(net, torch.randn(N, T, D))
    assert without_samples(trace.axes(found)) == axes


MAPS = {
    "convolution": (lambda net, x: net.conv(x), {1}),
    "channels last": (lambda net, x: net.conv(x).permute(0, 2, 3, 1), {3}),
    "normalised there and back": (lambda net, x: net.norm(net.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), {1}),
    "pooled": (lambda net, x: F.adaptive_avg_pool2d(net.conv(x), 1), {1}),
    "pooled and flat": (lambda net, x: F.adaptive_avg_pool2d(net.conv(x), 1).flatten(1), {1}),
    "windows": (lambda net, x: windows(net.conv(x).permute(0, 2, 3, 1)), {2}),
    "a padded, rolled map": (lambda net, x: F.pad(net.conv(x), (1, 1, 1, 1)).roll(1, 2), {1}),
    "max of maps": (lambda net, x: net.conv(x).amax((2, 3)), {1}),
    "a resized map": (lambda net, x: F.interpolate(net.conv(x), scale_factor=2), {1}),
    "unfolded": (lambda net, x: F.unfold(net.conv(x), 2), {1}),
}


def windows(x):
    return x.view(N, 2, 2, 2, 2, D).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, D)


@pytest.mark.parametrize("case", MAPS)
def test_neurons_of_maps_are_followed(case):
    function, axes = MAPS[case]
    net = Weights()
    with torch.no_grad(), AxisTrace(net) as trace:
        found = function(net, torch.randn(N, 3, 4, 4))
    assert trace.axes(found) == axes


def test_what_is_computed_does_not_change_and_nothing_is_held_after():
    net, x = Weights(), torch.randn(N, T, D)
    with torch.no_grad(), AxisTrace(net) as trace:
        found = attention(net, x)
        assert trace.known(net.linear.weight) == WEIGHT
    with torch.no_grad():
        assert torch.equal(found, attention(net, x))
    trace.forget()
    assert trace.axes(found) is None
