"""REPAIR of every kind of layer: which axis is the channel, and which way a weight lies."""

import pytest
import torch
from repaired import Net, channels, corrected, ends_of, inputs_of, mlp, require_between, require_own, task_of
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.evaluation.sampling import corrected_sample, sampled
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_corrections.repair import Repair


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: Net(nn.Conv1d(4, 6, 3), nn.Conv1d(6, 8, 3, groups=2), width=8), (20, 4, 12)),
        (lambda: Net(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 6, 3, groups=6), width=6), (20, 4, 6, 6)),
        (lambda: Net(nn.Conv3d(2, 6, 2), nn.Conv3d(6, 4, 2, stride=2), width=4), (20, 2, 5, 5, 5)),
        (lambda: Net(nn.ConvTranspose1d(4, 6, 3), nn.ConvTranspose1d(6, 9, 3, groups=3), width=9), (20, 4, 7)),
        (lambda: Net(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.ConvTranspose2d(6, 6, 2), width=6), (20, 4, 5, 5)),
        (lambda: Net(nn.ConvTranspose3d(2, 4, 2, groups=2), nn.Conv3d(4, 4, 1), width=4), (20, 2, 3, 3, 3)),
    ],
)
def test_convolutions_of_any_kind(make, shape):
    require_between(make, inputs_of(*shape), ["layers.0", "layers.1"], 0.3)


def test_channels_last_in_memory_makes_no_difference():
    def make():
        return Net(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 6, 3), width=6).to(memory_format=torch.channels_last)

    x = inputs_of(20, 4, 6, 6)
    require_between(make, x.to(memory_format=torch.channels_last), ["layers.0", "layers.1"])


class Tokens(nn.Module):
    """Linear maps of tokens, as many tokens as channels."""

    def __init__(self):
        super().__init__()
        self.up, self.norm, self.down, self.head = nn.Linear(6, 9), nn.LayerNorm(9), nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head((x + self.down(F.gelu(self.norm(self.up(x))))).mean(1))


def test_the_channel_of_a_linear_map_of_tokens_is_the_last_axis():
    require_between(Tokens, inputs_of(15, 9, 6), ["up", "down"], 0.7)


class Padded(nn.Module):
    """Sees tokens that are no padding alone."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.head = nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x, attention_mask):
        kept = attention_mask[..., None].to(x)
        return self.head((self.down(F.relu(self.up(x))) * kept).sum(1) / kept.sum(1))


class Counted(CachedSplit):
    """Has as many samples as targets, whatever its inputs are."""

    def __len__(self):
        return len(self.targets())


def test_padding_is_no_position_where_a_mask_says_so():
    a, b = ends_of(Padded)
    x = inputs_of(20, 5, 6)
    mask = (torch.arange(5) < 1 + torch.arange(20)[:, None] % 5).long()
    found = []
    for filling in (0.0, 100.0):
        inputs = {"x": x.masked_fill(mask[..., None] == 0, filling), "attention_mask": mask}
        task = Task(Padded, CachedSplit("train", inputs, torch.arange(20) % 3), dtype=torch.float64)
        found.append(corrected_sample(Path.from_points([a, b]), 0.5, task, Repair()))
    for name, weights in found[0].items():
        torch.testing.assert_close(weights, found[1][name], rtol=1e-9, atol=1e-9)


class Columns(nn.Module):
    """A linear map that keeps its weight as (inputs, outputs), or as (outputs, inputs)."""

    def __init__(self, inputs, outputs, turned=True):
        super().__init__()
        self.turned = turned
        self.weight = nn.Parameter(torch.randn(inputs, outputs) if turned else torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x):
        return x @ (self.weight if self.turned else self.weight.T) + self.bias


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("width", [5, 7])
def test_linear_maps_of_ones_own_are_corrected_whichever_way_their_weight_lies(turned, width):
    def make():
        return nn.Sequential(Columns(5, width, turned), nn.ReLU(), nn.Linear(width, 3))

    x = inputs_of(60, 5)
    prepared, weights, (a, b) = corrected(make, x)
    assert [layer.name for layer in prepared._layers] == ["0"]
    one, other, here = (x @ (w["0.weight"] if turned else w["0.weight"].T) + w["0.bias"] for w in (a, b, weights))
    torch.testing.assert_close(here.std(0), (one.std(0) + other.std(0)) / 2)
    torch.testing.assert_close(here.mean(0), (one.mean(0) + other.mean(0)) / 2)


def test_a_channel_that_is_constant_at_t_gets_the_mean_and_keeps_its_weight():
    def make():
        return mlp(5, 4, 4, 3)

    a, b = ends_of(make)
    b["0.weight"][1] = -a["0.weight"][1]  # in the middle it is zero
    a["2.weight"][2] = b["2.weight"][2] = 0.0  # everywhere
    x = inputs_of(60, 5)
    _, weights, _ = corrected(make, x, points=[a, b])
    own = sampled(Path.from_points([a, b]), 0.5)
    one, other, here = (channels(make, w, x) for w in (a, b, weights))
    assert same(weights["0.weight"][1], own["0.weight"][1])
    torch.testing.assert_close(here["0"].mean(1), (one["0"].mean(1) + other["0"].mean(1)) / 2)
    assert same(weights["2.weight"][2], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(weights["2.bias"][2], (a["2.bias"][2] + b["2.bias"][2]) / 2)
    assert all(w.isfinite().all() for w in weights.values())


def test_rounding_is_no_deviation():
    """A channel whose inputs are constant, in float32: what its values differ by is noise, and is not amplified."""

    def make():
        return mlp(5, 64, 64, 3)

    a, b = (({k: v.float() for k, v in w.items()}) for w in ends_of(make))
    for w in (a, b):
        w["0.weight"].zero_()
    b["0.weight"][:] = 1e-9 * torch.randn(64, 5, generator=torch.Generator().manual_seed(3))
    b["2.weight"] *= 1000
    task = task_of(make, inputs_of(300, 5, dtype=torch.float32), dtype=torch.float32)
    weights = corrected_sample(Path.from_points([a, b]), 0.5, task, Repair())
    own = sampled(Path.from_points([a, b]), 0.5)
    assert float((weights["2.weight"] / own["2.weight"]).abs().max()) < 10


class Experts(nn.Module):
    """Which expert runs depends on the inputs and the weights; the last runs under none of some ends."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.one, self.two, self.head = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        chosen = x[:, 0] > self.gate.sum() - 1
        hidden = x.new_zeros(len(x), 6)
        hidden[chosen] = self.one(x[chosen])
        hidden[~chosen] = self.two(x[~chosen])
        return self.head(F.relu(hidden))


def test_parts_that_run_on_some_samples_or_at_some_points_alone():
    a, b = ends_of(Experts)
    x = inputs_of(100, 5)
    prepared, weights, _ = corrected(Experts, x, points=[a, b])
    assert [layer.name for layer in prepared._layers] == ["one", "two"]
    assert all(w.isfinite().all() for w in weights.values())
    b["gate"] += 100.0
    prepared, weights, _ = corrected(Experts, x, t=0.9, points=[a, b])
    assert prepared.left == ("one",)
    assert all(w.isfinite().all() for w in weights.values())
    require_own(weights, [a, b], ["one.weight", "one.bias"], 0.9)


def test_coarse_types_stay_finite_and_come_close():
    def make():
        return mlp(5, 16, 16, 3)

    a, b = ({k: v.bfloat16() for k, v in w.items()} for w in ends_of(make))
    x = inputs_of(400, 5)
    weights = corrected_sample(
        Path.from_points([a, b]), 0.5, task_of(make, x.bfloat16(), dtype=torch.bfloat16), Repair()
    )
    one, other, here = (channels(make, {k: v.double() for k, v in w.items()}, x) for w in (a, b, weights))
    for name in ("0", "2"):
        torch.testing.assert_close(here[name].std(1), (one[name].std(1) + other[name].std(1)) / 2, rtol=0.05, atol=0.02)


def test_nothing_to_correct_is_said():
    prepared, weights, points = corrected(lambda: mlp(5, 3), inputs_of(20, 5))
    assert prepared.notes[0].startswith("repair corrects nothing: ")
    require_own(weights, points, weights)


def test_a_transformer_layer_is_corrected_though_its_fast_path_runs_no_modules():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.body(x).mean(1))

    fast = torch.backends.mha.get_fastpath_enabled()
    left = ["body.layers.0.self_attn", "body.layers.0.self_attn.out_proj"]
    names = ["body.layers.0.linear1", "body.layers.0.linear2"]
    require_between(Model, inputs_of(20, 5, 8), names, left=left)
    assert torch.backends.mha.get_fastpath_enabled() == fast
