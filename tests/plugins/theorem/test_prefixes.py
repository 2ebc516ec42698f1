"""Passes that go on from a layer give what whole passes give, and compute what comes before once."""

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_theorem.conditions import prefixes
from connectivity_hooks_theorem.conditions.replay import Replay

N, WIDTH, CLASSES = 23, 12, 3


class Residual(nn.Module):
    """One ReLU for all, in place, and a sum in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.norm, self.relu, self.head = nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Linear(2, CLASSES)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x.view(-1, 2, 3, 2))))
        inner = self.relu(self.second(x))
        inner += x
        return self.head(self.relu(self.third(inner)).mean((2, 3)))


class Looped(nn.Module):
    """A list of blocks of sequences, functions between modules, a shared block, a tuple that is handed on."""

    def __init__(self):
        super().__init__()
        block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList([block, nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()), block])
        self.memory, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x):
        for block in self.blocks:
            x = x + relu(block(x))
        outputs, (last, _) = self.memory(x.view(-1, 3, 4))
        return self.head(outputs[:, -1] + last[0])


class SequenceFirst(nn.Module):
    """An encoder whose values have the samples on the second axis, between layers that have them on the first."""

    def __init__(self):
        super().__init__()
        self.embed, self.encoder = nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2, 8, dropout=0)
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        tokens = self.encoder(self.embed(x.view(-1, 3, 4)).transpose(0, 1))
        return self.head(relu(self.body(tokens.mean(0))))


class Turned(nn.Module):
    """Samples inside tokens on one axis: with as many draws as tokens a repeated batch is not its repetition."""

    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        tokens = self.embed(x.view(-1, 3, 4).transpose(0, 1).reshape(-1, 4))
        return self.head(relu(self.body(tokens.view(3, -1, 4).sum(0))))


class Compared(nn.Module):
    """A module that gives (N, N): no one axis is that of the samples."""

    class Similarity(nn.Module):
        def forward(self, x):
            return torch.eye(len(x)) * (x @ x.T)

    def __init__(self):
        super().__init__()
        self.similarity, self.body, self.head = self.Similarity(), nn.Linear(WIDTH, 5), nn.Linear(5, CLASSES)

    def forward(self, x):
        weight = self.similarity(x).sum(1, keepdim=True) / 10
        return self.head(relu(self.body(weight * x)))


class Sided(nn.Module):
    """A head beside the way to the outputs, which do not depend on what enters it."""

    def __init__(self):
        super().__init__()
        self.first, self.body = nn.Linear(WIDTH, 6), nn.Linear(6, 6)
        self.head, self.beside = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)

    def forward(self, x):
        x = relu(self.first(x))
        outputs = self.head(relu(self.body(x)))
        self.beside(x)
        return outputs


LAYERS = {
    Residual: ["first", "relu", "second:input", "third", "head:input"],
    Looped: ["blocks.0.1", "blocks.1", "memory:input", "memory", "head:input"],
    SequenceFirst: ["embed", "body:input", "head:input"],
    Turned: ["body:input", "head:input"],
    Compared: ["body", "head:input"],
    Sided: ["body", "beside:input"],
}


@pytest.fixture
def setting(request):
    kind = request.param
    generator = torch.Generator().manual_seed(0)
    split = CachedSplit("train", torch.randn(N, WIDTH, generator=generator), torch.arange(N) % CLASSES)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind().eval(), Task(kind, split, batch_size=32)


def found(setting, monkeypatch, *, shared, **options):
    model, task = setting
    if not shared:
        monkeypatch.setattr(prefixes, "_starts", lambda *given: {})
    options = {"draws": 3, **options}
    verdicts = ch.check(model, task, "dropout-stability", layers=LAYERS[type(model)], options=options)
    monkeypatch.undo()
    return verdicts


@pytest.mark.parametrize("setting", LAYERS, indirect=True)
@pytest.mark.parametrize("budget", [1, 2**31])
def test_figures_are_those_of_whole_passes(setting, monkeypatch, budget):
    monkeypatch.setattr("connectivity_hooks.features.observation.Observation.budget", budget)
    whole, shared = (found(setting, monkeypatch, shared=shared) for shared in (False, True))
    assert len(whole) == len(shared) >= 2
    assert any(abs(verdict.measured) > 1e-4 for verdict in whole)
    for one, other in zip(whole, shared, strict=True):
        assert one.layer == other.layer
        assert other.measured == pytest.approx(one.measured, rel=1e-4, abs=1e-6)
        assert other.details == pytest.approx(one.details, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "shares"),
    [(Residual, True), (Looped, True), (SequenceFirst, True), (Turned, False)],
    indirect=["setting"],
)
def test_what_comes_before_is_computed_once(setting, monkeypatch, shares):
    model, _ = setting
    rows = []
    first = next(module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    original = type(first).forward

    def counted(self, x):
        if self is first:
            rows.append(x.numel() // x[0].numel())
        return original(self, x)

    monkeypatch.setattr(type(first), "forward", counted)
    verdicts = ch.check(model, setting[1], "dropout-stability", layers=LAYERS[type(model)][-2:], options={"draws": 6})
    samples = sum(rows) / {Looped: 2, SequenceFirst: 1, Residual: 1, Turned: 3}[type(model)]
    assert len(verdicts) == 2
    # once for the network's own outputs and once for the prefix, besides the few samples that are tried on
    assert (samples < 2 * N + 60) == shares


@pytest.mark.parametrize("setting", LAYERS, indirect=True)
def test_the_model_is_left_as_it_was(setting, monkeypatch):
    model, _ = setting
    model.head.forward = original = model.head.forward
    found(setting, monkeypatch, shared=True)
    assert model.head.__dict__["forward"] is original
    assert not any("forward" in module.__dict__ for module in model.modules() if module is not model.head)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_nobody_reads_any_more_is_not_kept():
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(9))).eval()
    replay, x = Replay(model, ["7"]), torch.randn(2, WIDTH)
    with torch.no_grad(), replay.installed():
        replay.learn(torch.randn(3, WIDTH), 3)
        replay.learn(x, 2)
        assert replay.settle(x, "7", lambda: torch.equal(replay.rerun(x.repeat(2, 1), 2)[:2], model(x)))
        replay.forget()
        replay.advance(x, "7")
        kept = [bool(torch.isfinite(call.value).all()) for call in replay._kept.values()]
    assert kept == [False] * 7 + [True]


@pytest.mark.parametrize("setting", [Residual], indirect=True)
def test_a_model_that_is_compiled_in_part_is_run_whole(setting, monkeypatch):
    model, _ = setting
    whole = found(setting, monkeypatch, shared=False)
    model.norm = torch.compile(model.norm, backend="eager")
    shared = found(setting, monkeypatch, shared=True)
    assert [verdict.measured for verdict in shared] == pytest.approx([verdict.measured for verdict in whole], abs=1e-6)
