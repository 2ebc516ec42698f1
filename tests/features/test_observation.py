"""What conditions see: every layer measured row by row, or left out with the reason."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from connectivity_hooks.checking import left_out, observe
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task

N, TOKENS, WIDTH = 24, 5, 16


class SequenceFirst(nn.Module):
    """An `nn.TransformerEncoder`, which by default wants (T, N, D), on samples (N, T, D)."""

    def __init__(self, batch_first=False):
        super().__init__()
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        hidden = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(hidden.mean(1 if self.batch_first else 0))


class Mixed(nn.Module):
    """Layers of every kind that cannot be measured, beside one that can."""

    def __init__(self):
        super().__init__()
        self.table, self.good = nn.Embedding(7, 6), nn.Linear(6, 6)
        self.twice, self.folded, self.silent = nn.ReLU(), nn.Linear(3, 3), nn.Linear(6, 6)
        self.sometimes, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        self.table(x[:, 0].abs().long() % 7)
        self.folded(x.reshape(-1, 3))
        if len(x) > 8:
            self.sometimes(x)
        return self.head(self.twice(self.good(self.twice(x))))


def vectors(samples=N):
    x = torch.randn(samples, 6, generator=torch.Generator().manual_seed(0))
    return CachedSplit("train", x, torch.arange(samples) % 3)


def sequences(tokens=TOKENS, samples=N):
    x = torch.randn(samples, tokens, WIDTH, generator=torch.Generator().manual_seed(0))
    return CachedSplit("train", x, torch.arange(samples) % 3)


def observation(model, split, layers, **options):
    return Observation(model.eval(), split, LOSSES["cross-entropy"], layers, **options)


BAD = {
    "silent": "never fired",
    "sometimes": "never fired",
    "table:input": "0 tensors",
    "folded": r"expected 3 rows for a batch of 3 samples, found 6 in its shape \(6, 3\)",
    "twice": r"called 2 times in one pass: ask for twice\[0\], twice\[1\]",
}


@pytest.mark.parametrize("layer", BAD)
def test_one_layer_that_cannot_be_measured_is_left_out_with_its_reason(layer):
    seen = observation(Mixed(), vectors(), ["good", layer, "head"], batch_size=10)
    assert all(set(features) == {"good", "head"} for features, _ in seen.batches())
    with torch.no_grad():
        torch.testing.assert_close(seen.features("head"), seen.model(seen.split.inputs))
    with pytest.raises(KeyError, match=BAD[layer]):
        seen.features(layer)
    assert seen.why_not(layer) == seen.problems[layer]


def test_a_module_called_twice_is_looked_at_call_by_call():
    model = Mixed().eval()
    task = Task(Mixed, vectors())
    seen = observe(model, task, layers=["twice", "good"])
    assert list(seen.layers) == ["twice[0]", "twice[1]", "good"]
    with torch.no_grad():
        assert torch.equal(seen.features("twice[0]"), task.train.inputs.relu())
        torch.testing.assert_close(seen.features("twice[1]"), model.good(task.train.inputs.relu()).relu())
    assert list(observe(model, task, layers="twice[1]").layers) == ["twice[1]"]
    with pytest.raises(UsageError, match="no layer 'thrice"):
        observe(model, task, layers="thrice[1]")


@pytest.mark.parametrize("tokens", [TOKENS, N, 8, 3, 2, 1])
@pytest.mark.parametrize("layer", ["encoder.layers.0", "encoder.layers.0.linear1:input", "encoder.layers.0.dropout"])
def test_rows_are_the_samples_whichever_axis_they_are(tokens, layer):
    """N = 24 in batches of 8: as many tokens as samples, in all, in a batch, or in the small batches that are tried."""
    first, second = SequenceFirst(), SequenceFirst(batch_first=True)
    second.load_state_dict(first.state_dict())
    seen = observation(first, sequences(tokens), [layer, "head"], batch_size=8)
    wanted = observation(second, sequences(tokens), [layer, "head"], batch_size=8)
    for name in (layer, "head"):
        torch.testing.assert_close(seen.features(name), wanted.features(name), rtol=1e-5, atol=1e-6)
        assert len(seen.features(name)) == N


def test_rows_that_are_no_samples_are_never_measured():
    class Merged(SequenceFirst):
        def forward(self, x):
            self.head(x.flatten(0, 1))  # a row for each token
            return super().forward(x)

    seen = observation(Merged(), sequences(), ["head[0]", "head[1]"], batch_size=8)
    assert set(seen.widths()) == {"head[1]"}
    assert "expected 3 rows for a batch of 3 samples, found 15" in seen.why_not("head[0]")


def test_a_width_that_changes_between_batches_is_a_reason():
    class Trimmed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            self.body(x[:, None].expand(-1, 2 + (x[0, 0] > 0).int(), -1))
            return self.head(x)

    split = vectors()
    split.inputs[:, 0] = torch.where(torch.arange(N) < 20, 1.0, -1.0)
    seen = observation(Trimmed(), split, ["body", "head"], batch_size=10, pool="flatten")
    with pytest.raises(KeyError, match="18 neurons in one batch and 12 in another"):
        seen.features("body")
    assert seen.features("head").shape == (N, 3)


def test_a_split_that_gives_fewer_samples_than_it_says_is_refused():
    class Short(CachedSplit):
        def __len__(self):
            return len(self.inputs) + 2

    split = vectors()
    with pytest.raises(InputError, match="gave 24 samples in one pass; expected 26"):
        observation(Mixed(), Short("train", split.inputs, split.targets()), ["good"]).features("good")


def test_of_proposed_layers_those_that_cannot_be_measured_are_named_and_left_out():
    seen = observe(Mixed().eval(), Task(Mixed, vectors()))
    assert list(seen.layers) == ["good:input", "twice[0]", "twice[1]", "head:input"]
    assert set(seen.left_out) == {"silent:input", "sometimes:input"}
    assert "silent:input, sometimes:input (never fired" in left_out(seen)


def test_where_nothing_proposed_can_be_measured_names_are_asked_for():
    class Bypassed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return linear(linear(x, self.body.weight), self.head.weight)

    with pytest.raises(UsageError, match=r"head:input \(never fired.*; name the layers to look at"):
        observe(Bypassed().eval(), Task(Bypassed, vectors()))


def test_the_hooks_and_the_training_flags_are_as_before():
    model = Mixed().train()
    seen = Observation(model, vectors(), LOSSES["cross-entropy"], ["twice", "table:input", "good"])
    seen.features("good")
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("samples", [1, 2])
def test_one_or_two_samples_are_enough(samples):
    assert observation(Mixed(), vectors(samples), ["good"]).features("good").shape == (samples, 6)
