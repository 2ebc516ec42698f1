"""REPAIR: hidden channels between two networks have what lies between both ends' means and deviations."""

import itertools

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.evaluation.sampling import corrected_sample, sampled
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.testing import CorrectionSuite
from connectivity_hooks_corrections.batch_norm import BatchNorm
from connectivity_hooks_corrections.repair import Options, Repair


def ends_of(make, count=2, spread=0.0):
    """Return weights in float64 by seeds; those without spread, such as biases of zero, are moved by `spread`."""
    found = []
    for seed in range(1, count + 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            weights = {name: w.double() if w.is_floating_point() else w for name, w in make().state_dict().items()}
            for w in weights.values():
                if spread and w.is_floating_point():
                    w.add_(spread * torch.rand_like(w))
            found.append(weights)
    return found


def task_of(make, inputs, batch_size=1000, dtype=torch.float64):
    targets = torch.arange(len(inputs)) % 3
    return Task(make, CachedSplit("train", inputs, targets), dtype=dtype, batch_size=batch_size)


def inputs_of(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def corrected(make, inputs, t=0.5, points=None, batch_size=1000):
    """Return (what was prepared, the corrected weights at t, the ends)."""
    points = points or ends_of(make)
    task, path = task_of(make, inputs, batch_size), Path.from_points(points)
    prepared = Repair().prepare(ModelOnPath(path, task))
    return prepared, corrected_sample(path, t, task, Repair()), points


def channels(make, weights, inputs, axis=-1):
    """Return what each linear map and convolution puts out under some weights, (C, R) by name."""
    model, found = make().double().eval(), {}
    model.load_state_dict(weights)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            last = -1 if isinstance(module, nn.Linear) else 1
            module.register_forward_hook(
                lambda module, given, outputs, name=name, last=last: found.update(
                    {name: outputs.detach().movedim(last, 0).flatten(1)}
                )
            )
    with torch.no_grad():
        model(inputs)
    return found


def require_between(make, inputs, names, t=0.5, *, left=(), points=None, rtol=1e-9):
    """Require that the layers named, and no others but those left, have means and deviations between the ends'."""
    prepared, weights, (a, b) = corrected(make, inputs, t, points)
    assert sorted(prepared.left) == sorted(left)
    one, other, here = (channels(make, each, inputs) for each in (a, b, weights))
    assert sorted(layer.name for layer in prepared._layers) == sorted(names)
    for name in names:
        for statistic in (torch.mean, torch.std):
            expected = torch.lerp(statistic(one[name], 1), statistic(other[name], 1), t)
            torch.testing.assert_close(statistic(here[name], 1), expected, rtol=rtol, atol=rtol)
    return prepared, weights, (a, b)


def mlp(*widths):
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Suite(nn.Module):
    """Layers that are corrected, one followed by a norm, an integer buffer, dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 5)
        self.norm, self.drop, self.head = nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(F.relu(self.third(self.drop(F.relu(self.norm(self.second(F.relu(self.first(x)))))))))


class TestRepairOfLayers(CorrectionSuite):
    correction = Repair

    def make_task(self):
        return task_of(Suite, inputs_of(97, 6, dtype=torch.float32), 32, torch.float32)

    def make_path(self):
        return Path.from_points(
            [{k: v.float() if v.is_floating_point() else v for k, v in w.items()} for w in ends_of(Suite)]
        )


def closed_form(a, b, x, t):
    """Return the corrected weights of a network of two layers, from the definition alone."""
    weight, bias = (torch.lerp(a[f"0.{part}"], b[f"0.{part}"], t) for part in ("weight", "bias"))
    one, other, own = (
        x @ w.T + c for w, c in ((a["0.weight"], a["0.bias"]), (b["0.weight"], b["0.bias"]), (weight, bias))
    )
    std = (1 - t) * one.std(0, correction=0) + t * other.std(0, correction=0)
    mean = (1 - t) * one.mean(0) + t * other.mean(0)
    factor = std / own.std(0, correction=0)
    return weight * factor[:, None], (bias - own.mean(0)) * factor + mean


@pytest.mark.parametrize("t", [0.03, 0.5, 0.8])
@pytest.mark.parametrize("batch_size", [1000, 16])
def test_the_weights_of_two_layers_are_those_of_the_definition(t, batch_size):
    def make():
        return mlp(5, 7, 3)

    x = inputs_of(120, 5) * 3 + 1
    _, found, (a, b) = corrected(make, x, t, batch_size=batch_size)
    weight, bias = closed_form(a, b, x, t)
    torch.testing.assert_close(found["0.weight"], weight, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found["0.bias"], bias, rtol=1e-10, atol=1e-10)
    own = sampled(Path.from_points([a, b]), t)
    assert same(found["2.weight"], own["2.weight"])
    assert same(found["2.bias"], own["2.bias"])


def trained(x, y, seed, widths, steps=300):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp(*widths)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (128,))
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: w.detach().clone() for name, w in model.state_dict().items()}


@pytest.fixture(scope="module")
def digits():
    """Return (task, ends) of networks of six hidden layers of 64 without norm."""
    x, y = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    x, widths = x.float() / 16, (64, *[64] * 6, 10)
    task = Task(lambda: mlp(*widths), CachedSplit("train", x, y), batch_size=len(x))
    return task, [trained(x, y, seed, widths) for seed in (1, 2)]


def test_between_deep_networks_the_values_vary_as_at_the_ends_and_fewer_samples_are_wrong(digits):
    task, (a, b) = digits
    path, hidden = Path.from_points([a, b]), [f"{2 * i}" for i in range(6)]
    x, make = task.train.inputs.double(), task.factory
    one, other, own, found = (
        channels(make, {k: v.double() for k, v in w.items()}, x)
        for w in (a, b, path(0.5), corrected_sample(path, 0.5, task, Repair()))
    )
    shrunk = [float(own[name].std(1).mean() / (one[name].std(1) + other[name].std(1)).mean() * 2) for name in hidden]
    assert shrunk[-1] < 0.5  # what is corrected: the values of the line collapse, layer by layer
    for name in hidden:
        expected = (one[name].std(1) + other[name].std(1)) / 2
        torch.testing.assert_close(found[name].std(1), expected, rtol=1e-3, atol=1e-3 * float(expected.mean()))
    plain, better = (ch.evaluate(path, task, points=3, refine=0, correct=how) for how in ("none", "repair"))
    wrong, fewer = (each.curves["train"][1].error for each in (plain, better))
    assert wrong > 0.7
    assert fewer < 0.85 * wrong  # 0.5 to 0.65 of it for the pairs of seeds that were tried
    assert better.barriers["train"].barrier_entezari < plain.barriers["train"].barrier_entezari


def test_statistics_of_small_batches_come_close(digits):
    task, points = digits
    small = Task(task.factory, task.train, batch_size=150)
    weights = corrected_sample(Path.from_points(points), 0.5, small, Repair())
    one, other, found = (
        channels(task.factory, {k: v.double() for k, v in w.items()}, task.train.inputs.double())
        for w in (*points, weights)
    )
    for name in list(found)[:-1]:
        expected = (one[name].std(1) + other[name].std(1)) / 2
        assert float((found[name].std(1) / expected - 1).abs().mean()) < 0.05


class Net(nn.Module):
    """Layers one after the other, each followed by ReLU, the mean over positions, and an output layer."""

    def __init__(self, *layers, width):
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x.flatten(2).mean(2))


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


def require_own(weights, points, names, t=0.5):
    """Require that weights are the path's own."""
    own = sampled(Path.from_points(points), t)
    assert all(same(weights[name], own[name]) for name in names)


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


class Standardised(nn.Conv2d):
    """Makes its weight's rows have mean 0 and deviation 1, so that a factor on them does nothing."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


@pytest.mark.parametrize(
    ("make", "shape", "names", "left", "why"),
    [
        (Twice, (60, 5), ["first"], ["again"], "run several times in a pass"),
        (Tied, (60, 5), ["free"], ["a", "b", "hand", "listed"], "share their weight"),
        (Seldom, (60, 5), ["first"], ["never"], "did not run"),
        (Attention, (20, 4, 6), ["up"], ["attention", "attention.out_proj"], "maps that are no modules of their own"),
        (Recurrent, (20, 4, 6), ["up"], ["cell"], "maps that are no modules of their own"),
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


class Normed(nn.Module):
    """A layer whose outputs a norm reads, and one whose outputs a norm and a skip read."""

    def __init__(self, bias=False):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, bias=bias), nn.BatchNorm2d(6)
        self.second, self.norm2 = nn.Conv2d(6, 5, 2), nn.BatchNorm2d(5)
        self.third, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.second(F.relu(self.norm(self.first(x))))
        return self.head(F.relu(self.third(F.relu(x + self.norm2(x)))).mean((2, 3)))


def stats_of(make, x, count=2):
    """Return ends whose norms have the statistics of the data."""
    points = ends_of(make, count)
    for weights in points:
        model = make().double()
        model.load_state_dict(weights)
        with torch.no_grad():
            model.train()(x)
        weights.update({k: v.clone() for k, v in model.state_dict().items() if "running" in k})
    return points


def test_norms_are_measured_under_the_corrected_layers_and_what_they_alone_read_needs_nothing():
    x = inputs_of(30, 3, 6, 6)
    points = stats_of(Normed, x)
    # A norm divides by the deviation of the population while it measures, and stores that of a sample, of 480 here.
    near = {"rtol": 3e-3, "atol": 3e-3}
    prepared, weights, _ = require_between(Normed, x, ["second", "third"], points=points, rtol=3e-3)
    require_own(weights, points, ["first.weight"])
    hidden, here = F.conv2d(x, weights["first.weight"]), channels(Normed, weights, x)
    torch.testing.assert_close(weights["norm.running_mean"], hidden.mean((0, 2, 3)))
    torch.testing.assert_close(weights["norm.running_var"], hidden.var((0, 2, 3)))
    torch.testing.assert_close(weights["norm2.running_mean"], here["second"].mean(1), **near)
    torch.testing.assert_close(weights["norm2.running_var"], here["second"].var(1), **near)
    assert prepared.notes == (
        "repair: 2 layers given the means and deviations between both ends', 2 norms measured anew",
    )


class Flattened(nn.Module):
    """Norms that read views of a layer's outputs: tokens in a row, turned, and one that takes tokens for channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.norm_a, self.norm_b, self.norm_c = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.a(x)
        x = F.relu(self.norm_a(x.flatten(0, 1)).view_as(x))
        x = F.relu(self.norm_b(self.b(x).transpose(1, 2)).transpose(1, 2))
        return self.head(F.relu(self.norm_c(self.c(x))).mean(1))  # six tokens: they are taken for channels


def test_a_norm_counts_where_it_scales_the_same_channels():
    x = inputs_of(30, 6, 4)
    prepared, _, _ = corrected(Flattened, x, points=stats_of(Flattened, x))
    assert prepared._layers == []
    assert prepared.left == ("c",)


def test_with_norms_after_every_layer_it_is_batch_norm_between_the_ends():
    def make():
        return nn.Sequential(
            nn.Linear(5, 4),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Linear(4, 4, bias=False),
            nn.BatchNorm1d(4),
            nn.Linear(4, 3),
        )

    x = inputs_of(60, 5)
    path, task = Path.from_points(stats_of(make, x)), task_of(make, x, 16)
    for t in (0.2, 0.5):
        one, other = (corrected_sample(path, t, task, how()) for how in (Repair, BatchNorm))
        assert all(same(one[name], other[name]) for name in one)


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


def test_between_the_points_of_a_path_its_neighbours_are_aimed_at_and_points_are_kept():
    def make():
        return mlp(5, 6, 6, 3)

    a, middle, b = ends_of(make, 3)
    path = Path.from_points([a, middle, b], positions=[0, 0.4, 1])
    x = inputs_of(60, 5)
    task = task_of(make, x)
    at = {t: corrected_sample(path, t, task, Repair()) for t in (0.2, 0.4, 0.7)}
    assert all(same(at[0.4][name], w) for name, w in middle.items())
    one, between, other = (channels(make, w, x) for w in (a, middle, b))
    for t, left, right in ((0.2, one, between), (0.7, between, other)):
        here = channels(make, at[t], x)
        for name in ("0", "2"):
            torch.testing.assert_close(here[name].std(1), (left[name].std(1) + right[name].std(1)) / 2)


def test_guaranteed_segments_are_neither_measured_nor_corrected():
    def make():
        return mlp(5, 6, 3)

    a, b = ends_of(make)
    moved = {**a, "2.weight": b["2.weight"], "2.bias": b["2.bias"]}
    path = Path.from_points([a, moved, b], guarantees=["convex", "measured"])
    moving = ModelOnPath(path, task_of(make, inputs_of(60, 5)))
    how = Corrected(moving, Repair())
    assert sorted(how._prepared._points) == [1, 2]
    own = path(0.25)
    how.go(0.25)
    assert all(same(moving.weights[name], w) for name, w in own.items())


def test_a_curve_aims_at_its_ends():
    def make():
        return mlp(5, 6, 3)

    a, c, b = ends_of(make, 3)
    path, x = Path.from_points([a, c, b], basis="bezier"), inputs_of(60, 5)
    weights = corrected_sample(path, 0.25, task_of(make, x), Repair())
    one, other, here = (channels(make, w, x) for w in (a, b, weights))
    torch.testing.assert_close(here["0"].std(1), torch.lerp(one["0"].std(1), other["0"].std(1), 0.25))


def test_as_many_samples_are_drawn_as_said_from_the_seed():
    def make():
        return mlp(5, 6, 3)

    path, x = Path.from_points(ends_of(make)), inputs_of(600, 5)
    task = task_of(make, x)
    found = [
        corrected_sample(path, 0.5, task, Repair(Options(samples), seed=seed))["0.weight"]
        for seed, samples in ((0, 50), (0, 50), (1, 50), (0, 600))
    ]
    assert same(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    torch.testing.assert_close(found[3], closed_form(path.start, path.end, x, 0.5)[0])


def test_one_sample_is_refused():
    path = Path.from_points(ends_of(lambda: mlp(5, 6, 3)))
    task = task_of(lambda: mlp(5, 6, 3), inputs_of(1, 5))
    with pytest.raises(InputError, match="repair cannot measure deviations of 1 training sample"):
        corrected_sample(path, 0.5, task, Repair())


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


class Killed(BaseException):
    """Stands for SIGKILL after some points."""


class Dying(Journal):
    def add(self, measurements):
        super().add(measurements)
        if len(self) == 4:
            raise Killed


def test_a_killed_evaluation_goes_on_and_ends_equal(tmp_path):
    path, subject = Path.from_points(ends_of(lambda: mlp(5, 6, 6, 3))), {"ends": ["1", "2"]}
    how = {"points": 7, "correct": Repair(seed=3)}
    task = task_of(lambda: mlp(5, 6, 6, 3), inputs_of(60, 5))
    whole = ch.evaluate(path, task, **how)
    with pytest.raises(Killed), Dying(tmp_path / "journal", subject) as journal:
        evaluate(path, task, record=journal, **how)
    with Journal(tmp_path / "journal", subject) as journal:
        resumed = evaluate(path, task, record=journal, **how)
    assert resumed.curves == whole.curves
