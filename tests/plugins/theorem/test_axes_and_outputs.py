"""Conditions where neurons, samples and outputs are elsewhere than in a plain classifier."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import connectivity_hooks as ch
from connectivity_hooks.checking import make_condition
from connectivity_hooks.errors import InputError
from connectivity_hooks.features.layout import Layout
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.watching.probe import read_probe
from connectivity_hooks_theorem.conditions.masking import masked, spread

N = 30
CONDITIONS = ["separability", "feature-rank", "dropout-stability", "subnetwork", "memorization"]
QUICK = {"subnetwork": {"epochs": 1}, "separability": {"iterations": 5}}


class Maps(nn.Module):
    """Maps whose channels are on any axis between two layers of weights; (N, 3, 6, 6) in, classes out."""

    def __init__(self, order=(0, 1, 2, 3)):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Linear(6, 3)
        self.order = order

    def forward(self, x):
        maps = self.act(self.conv(x).permute(self.order))
        back = [self.order.index(axis) for axis in range(4)]
        return self.head(maps.permute(back).mean((2, 3)))


class Lines(nn.Module):
    """1-d convolutions (N, C, L), or the same as a linear layer on tokens (N, T, C)."""

    def __init__(self, *, tokens=False):
        super().__init__()
        self.body = nn.Linear(4, 6) if tokens else nn.Conv1d(4, 6, 1)
        self.act, self.head, self.tokens = nn.ReLU(), nn.Linear(6, 3), tokens

    def forward(self, x):
        if self.tokens:
            return self.head(self.act(self.body(x.transpose(1, 2))).mean(1))
        return self.head(self.act(self.body(x)).mean(2))


def twins(first, second):
    """Give the second model the weights of the first, in its own shapes."""
    own = second.state_dict()
    second.load_state_dict({name: value.view_as(own[name]) for name, value in first.state_dict().items()})
    return first.eval(), second.eval()


def split_of(*shape):
    x = torch.randn(N, *shape, generator=torch.Generator().manual_seed(0))
    return CachedSplit("train", x, torch.arange(N) % 3)


def answers(model, split, layers, condition, *, forward=PLAIN, **options):
    observation = Observation(model, split, LOSSES["cross-entropy"], layers, 8, forward=forward, **options)
    method = make_condition(condition, QUICK.get(condition), seed=0)
    return {verdict.layer: verdict for verdict in method.check(observation)}


def assert_alike(found, wanted):
    assert found.keys() == wanted.keys()
    for layer, verdict in found.items():
        assert verdict.holds is not None, verdict.reason
        assert verdict.measured == pytest.approx(wanted[layer].measured, rel=1e-5, abs=1e-6)
        assert verdict.details.get("neurons") == wanted[layer].details.get("neurons")


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (2, 0, 3, 1), (1, 2, 3, 0), (0, 2, 1, 3)])
def test_channels_may_be_on_any_axis(order, condition):
    plain, moved = twins(Maps(), Maps(order))
    split = split_of(3, 6, 6)
    found = answers(moved, split, ["act", "head:input"], condition)
    assert_alike(found, answers(plain, split, ["act", "head:input"], condition))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_dimensional_convolutions_are_measured_as_tokens(condition):
    lines, tokens = twins(Lines(), Lines(tokens=True))
    split = split_of(4, 9)
    assert_alike(*(answers(model, split, ["act"], condition) for model in (lines, tokens)))


SHAPES = [
    ((6, 4), Layout(0, (1,)), 4),
    ((6, 4, 5, 5), Layout(0, (1,)), 4),
    ((6, 5, 5, 4), Layout(0, (3,)), 4),
    ((7, 6, 4), Layout(1, (2,)), 4),
    ((4, 7, 6), Layout(2, (0,)), 4),
    ((6, 2, 7, 3), Layout(0, (1, 3)), 6),
    ((6, 4, 5), Layout(0, (1,)), 20),
    ((5, 6, 4), Layout(1, (2,)), 20),
]


@pytest.mark.parametrize(("shape", "layout", "neurons"), SHAPES)
def test_a_mask_lies_on_the_axis_of_the_neurons(shape, layout, neurons):
    """Three draws of two samples each, compared sample by sample and neuron by neuron."""
    mask = (torch.rand(3, neurons, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = torch.ones(shape) * spread(mask, shape, layout)
    rows = found.movedim((layout.samples, *layout.neurons), tuple(range(1 + len(layout.neurons))))
    for row in range(6):
        if neurons == 20:
            wanted = mask[row // 2].reshape([length for axis, length in enumerate(shape) if axis != layout.samples])
            assert torch.equal(found.movedim(layout.samples, 0)[row], wanted)
        else:
            flat = rows[row].reshape(neurons, -1)
            assert torch.equal(flat, mask[row // 2][:, None].expand_as(flat))


def test_a_mask_of_another_number_of_neurons_is_refused():
    with pytest.raises(InputError, match=r"masks of 3 neurons are for another shape than \(6, 4, 5\)"):
        spread(torch.ones(2, 3), (6, 4, 5), Layout(0, (1,)))


def test_dropped_channels_of_a_channels_last_map_are_zero():
    model = Maps((0, 2, 3, 1)).eval()
    seen = []
    with torch.no_grad(), masked(model, {"act": torch.tensor([[1.0, 0, 1, 0, 1, 1]])}, {"act": Layout(0, (3,))}):
        model.act.register_forward_hook(lambda module, args, value: seen.append(value))
        model(torch.randn(2, 3, 6, 6))
    dropped = seen[-1].eq(0).all(0).all(0).all(0)
    assert dropped[[1, 3]].all()


class Beside(nn.Module):
    """A block that gives positions beside what it hands on, the positions first."""

    def __init__(self, *, alone):
        super().__init__()
        self.fc, self.alone = nn.Linear(6, 6), alone

    def forward(self, x):
        y = self.fc(x).relu()
        return y if self.alone else (x.new_ones(len(x), 9), y)


class Stacked(nn.Module):
    def __init__(self, *, alone):
        super().__init__()
        self.block, self.head, self.alone = Beside(alone=alone), nn.Linear(6, 3), alone

    def forward(self, x):
        y = self.block(x)
        return self.head(y if self.alone else y[1])


def test_the_tensor_that_is_dropped_from_is_the_one_that_is_measured():
    alone, beside = twins(Stacked(alone=True), Stacked(alone=False))
    found, wanted = (answers(model, split_of(6), ["block"], "dropout-stability") for model in (beside, alone))
    assert_alike(found, wanted)
    assert wanted["block"].details["neurons"] == 6


@dataclass
class Returned:
    hidden: Tensor
    scores: Tensor


RETURNED = {
    "a tuple": (lambda logits, hidden: (hidden, logits), 1),
    "a mapping": (lambda logits, hidden: {"out": logits, "aux": hidden}, "out"),
    "a dataclass": (lambda logits, hidden: Returned(hidden, logits), "scores"),
}


class Picked(nn.Module):
    """Several outputs, of which one is the classes'."""

    def __init__(self, returned):
        super().__init__()
        self.body, self.act, self.head = nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)
        self.returned = returned

    def forward(self, x, scale=None):
        hidden = self.act(self.body(x if scale is None else x * scale))
        return self.returned(self.head(hidden), hidden)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("case", RETURNED)
def test_outputs_that_must_be_picked(case, condition):
    returned, pick = RETURNED[case]
    plain, several = twins(Picked(lambda logits, hidden: logits), Picked(returned))
    split = split_of(12)
    wanted = answers(plain, split, ["act"], condition)
    assert_alike(answers(several, split, ["act"], condition, forward=Forward(pick)), wanted)
    task = Task(nn.Identity, split, batch_size=8, forward=Forward(pick))
    checked = ch.check(several, task, condition, layers="act", options=QUICK.get(condition))
    assert_alike({verdict.layer: verdict for verdict in checked}, wanted)


def test_without_a_pick_the_choices_are_named():
    model = Picked(RETURNED["a tuple"][0]).eval()
    (found,) = answers(model, split_of(12), ["act"], "memorization").values()
    assert found.holds is None
    assert "output= (--output) takes one of 0, 1" in found.reason


class Segmenting(nn.Module):
    """A label for each pixel (N, 2, H, W), or with `tokens` for each of H·W tokens (N, H·W, 2)."""

    def __init__(self, *, tokens=False):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 2, 1)
        self.tokens = tokens

    def forward(self, x):
        maps = self.head(self.act(self.conv(x)))
        return maps.flatten(2).transpose(1, 2) if self.tokens else maps


@pytest.mark.parametrize("condition", ["memorization", "subnetwork", "separability"])
@pytest.mark.parametrize("tokens", [False, True])
def test_each_pixel_is_a_sample_where_the_features_are_at_the_pixels_of_the_outputs(condition, tokens):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (N, 64) if tokens else (N, 8, 8), generator=generator)
    split = CachedSplit("train", torch.randn(N, 1, 8, 8, generator=generator), labels)
    task = Task(lambda: Segmenting(tokens=tokens), split, batch_size=8)
    (verdict,) = ch.check(task.model(), task, condition, layers="act", options=QUICK.get(condition))
    if tokens:  # a map (8, 8) may be laid out as 64 tokens in more than one way
        assert (verdict.layer, verdict.status) == ("act", "invalid")
        assert "its positions are not those of the outputs (64,)" in verdict.reason
    else:
        assert verdict.status != "invalid"
        assert (verdict.details["positions"], verdict.details["samples"]) == (64 * N, min(64 * N, 1024))
    # features and the network's own loss under masks mean the same wherever the answers are
    for other in ("feature-rank", "dropout-stability"):
        assert ch.check(task.model(), task, other, layers="act")[0].status != "invalid"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_inputs_in_a_tuple_and_by_name_are_measured_as_one_tensor(condition):
    model = Picked(lambda logits, hidden: logits).eval()
    x, y = split_of(12).inputs, torch.arange(N) % 3
    ones = torch.ones(N, 1)
    wanted = answers(model, CachedSplit("train", x, y), ["act"], condition)
    for inputs in ((x, ones), {"x": x, "scale": ones}, {"x": x, "scale": None}):
        assert_alike(answers(model, read_probe([(inputs, y)], N, seed=0), ["act"], condition), wanted)


def test_a_layout_on_the_command_of_python_reaches_the_condition():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.raw, self.head = nn.Identity(), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.raw(x)[:, :, 0])

    task = Task(Raw, split_of(4, 5))
    (invalid,) = ch.check(task.model(), task, "feature-rank", layers="raw")
    assert "name it: axes= (--axes" in invalid.reason
    (found,) = ch.check(task.model(), task, "feature-rank", layers="raw", axes="NCT")
    assert found.details["neurons"] == 4
