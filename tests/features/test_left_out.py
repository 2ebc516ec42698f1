"""Nothing that passes ends the user's forward, and no row is kept that is not of its sample: the layer is left out."""

import contextlib
import warnings

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features import Capture, capture, stream
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.window import TARGETS, Window


class Tokens(nn.Module):
    """Mixes tokens, then classifies their mean: (N, T, 4) or (N, 4, H, W) → (N, 3)."""

    def __init__(self):
        super().__init__()
        self.mix, self.pooled, self.head = nn.Tanh(), nn.Identity(), nn.Linear(4, 3)

    def forward(self, x):
        x = self.mix(x)
        return self.head(self.pooled(x.mean(1) if x.dim() == 3 else x.mean((2, 3))))


def one_warning(layer, passes, model, **options):
    """Run passes over `model` with a capture, expect one warning about `layer`, and return the capture."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with capture(model, **options) as features:
            for run in passes:
                run()
    own = [str(warning.message) for warning in said if "capture" in str(warning.message)]
    assert len(own) == 1, own
    assert own[0].startswith(f"capture: {layer} is left out: ")
    assert layer not in features
    assert features.problems[layer]
    with pytest.raises(KeyError, match="was left out"):
        features[layer]
    return features


@pytest.mark.parametrize("shapes", [[(5, 6, 4), (5, 9, 4)], [(5, 4, 8, 8), (5, 4, 6, 6), (3, 4, 6, 6)]])
def test_batches_of_another_length_or_size_cost_the_layer_and_not_the_training(shapes):
    model, batches = Tokens(), [torch.randn(shape) for shape in shapes]
    passes = [lambda x=x: model(x).sum().backward() for x in batches]
    features = one_warning("mix", passes, model, layers=["mix", "pooled"], samples=100)
    expected = torch.cat([model.mix(x).mean(1) if x.dim() == 3 else model.mix(x).mean((2, 3)) for x in batches])
    assert torch.equal(features["pooled"], expected)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_cost_the_layer(layout):
    net = nn.Sequential(nn.Linear(4, 3))
    nested = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(5, 4)], layout=layout)
    one_warning("0", [lambda: net(nested)] * 2, net, layers="0", samples=4)


@pytest.mark.parametrize("samples", [None, 4])
@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_what_is_called_inside_a_transform_is_not_kept(samples, transform):
    net = nn.Sequential(nn.Linear(4, 1))
    function = net if transform is torch.func.vmap else lambda x: net(x).sum()
    one_warning("0", [lambda: transform(function)(torch.randn(5, 4))] * 2, net, layers="0", samples=samples)


def test_sparse_outputs_cost_the_layer():
    class Sparse(nn.Module):
        def forward(self, x):
            return x.to_sparse()

    net = nn.Sequential(Sparse())
    one_warning("0", [lambda: net(torch.eye(4))] * 2, net, layers="0", samples=2)


def test_outputs_without_values_cost_the_layer():
    net = nn.Sequential(nn.Linear(4, 3)).to("meta")
    one_warning("0", [lambda: net(torch.zeros(2, 4, device="meta"))] * 2, net, layers="0")


@contextlib.contextmanager
def windowed(model, layers, samples):
    kept = Window(model, samples=samples, left_out=LeftOut("warn"))
    with Capture(model, layers, kept) as features:
        yield features, kept


class SequenceFirst(nn.Module):
    """Takes (N, T), works on (T, N, n) inside as PyTorch's own sequence modules do, and gives (N, 3)."""

    def __init__(self):
        super().__init__()
        self.embed, self.encoder, self.head = nn.Embedding(20, 8), nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x).transpose(0, 1)).mean(0))


class Flattened(nn.Module):
    """Takes (N, T, 4), works on (N·T, 4) inside, and gives (N, 3)."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.mix(self.embed(x).flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1))


def test_rows_that_are_no_samples_are_left_out_and_the_message_has_both_numbers():
    model = Flattened()
    features = one_warning(
        "mix", [lambda: model(torch.randn(12, 5, 4))], model, layers=["embed", "mix", "head"], samples=30
    )
    assert "has 60 rows, expected 12" in features.problems["mix"]
    assert (len(features["embed"]), len(features["head"])) == (12, 12)


def test_rows_of_a_sequence_first_layer_are_turned_to_samples():
    model = SequenceFirst().eval()
    x = torch.randint(0, 20, (12, 5))
    with capture(model, ["embed", "encoder", "head"], samples=30) as features:
        model(x)
    assert features["encoder"].shape == (12, 5, 8)
    torch.testing.assert_close(features["encoder"].mean(1) @ model.head.weight.T + model.head.bias, features["head"])
    assert torch.equal(features["embed"], model.embed(x))


def test_a_stream_names_the_layer_and_both_numbers():
    model, x, y = SequenceFirst(), torch.randint(0, 20, (12, 5)), torch.zeros(12)
    with pytest.raises(InputError, match=r"encoder: its output \(5, 12, 8\) has 5 rows, expected 12"):
        list(stream(model, [(x, y)], ["embed", "encoder"]))


def test_of_a_batch_whose_inputs_are_sequence_first_the_targets_say_how_many_samples_it_has():
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 16), nn.Linear(16, 3))
    batch = (torch.randn(10, 64, 16), torch.zeros(64))
    with pytest.raises(InputError, match="has 10 rows, expected 64"):
        list(stream(model, [batch], ["0"]))


class Skipping(nn.Module):
    """Skips a layer in some passes, as layer drop does, and calls another a varying number of times."""

    def __init__(self):
        super().__init__()
        self.first, self.skipped, self.again = nn.Linear(4, 4), nn.Linear(4, 4), nn.Tanh()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        x = self.first(x)
        for _ in range(self.passes):
            x = self.again(x)
        return x if self.passes % 2 else self.skipped(x)


@pytest.mark.parametrize("first_pass", [0, 1])
def test_a_layer_that_not_every_pass_reaches_would_hold_rows_of_other_samples(first_pass):
    model, batches = Skipping(), torch.randn(4, 5, 4)
    model.passes = first_pass
    with (
        pytest.warns(UserWarning, match="is left out: some passes reach it") as said,
        capture(model, ["first", "skipped", "again"], samples=100) as features,
    ):
        list(map(model, batches))
    assert len(said) == 2
    assert list(features) == ["first"]
    assert torch.equal(features["first"], model.first(batches).flatten(0, 1))


@pytest.mark.parametrize(
    ("model", "layer", "batches", "error"),
    [
        (Tokens(), "mix", [torch.randn(5, 6, 4), torch.randn(5, 9, 4)], RuntimeError),
        (Flattened(), "mix", [torch.zeros(12, 5, 4)], InputError),
    ],
)
def test_strict_raises_them_in_the_forward_and_takes_the_hooks_off(model, layer, batches, error):
    def run():
        with capture(model, layer, samples=9, strict=True):
            for x in batches:
                model(x)

    with pytest.raises(error):
        run()
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.filterwarnings("ignore:capture")
def test_passes_of_a_training_leave_out_the_same():
    model, x, y = SequenceFirst().requires_grad_(False), torch.randint(0, 20, (12, 5)), torch.arange(12)
    model.encoder.dropout1.p = model.encoder.dropout2.p = model.encoder.dropout.p = model.encoder.self_attn.dropout = (
        0.0
    )
    with windowed(model, ["embed", "encoder", "head"], samples=30) as (features, kept):
        model(x)
        kept.pair(y)
    assert set(features) == {"embed", "encoder", "head", TARGETS}
    torch.testing.assert_close(features["encoder"], model.encoder(model.embed(x).transpose(0, 1)).mean(0))
    model = Skipping()
    batches = torch.randn(4, 5, 4)
    with windowed(model, ["first", "skipped", "again"], samples=100) as (features, kept):
        for number, batch in enumerate(batches):
            model(batch)
            kept.pair(torch.full((5,), number))
    assert set(features) == {"first", TARGETS}
    assert torch.equal(features["first"], model.first(batches).flatten(0, 1))
    assert torch.equal(features[TARGETS], torch.arange(4).repeat_interleave(5))


def test_targets_of_a_pass_that_reaches_no_layer_are_not_given_to_another():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, deep=True):
            return self.fc(x) if deep else x

    model, x = Branching(), torch.randn(9, 4)
    with windowed(model, ["fc"], samples=100) as (features, kept):
        model(x[:4], deep=False)
        model(x[4:])
        kept.pair(torch.arange(9))
    assert torch.equal(features["fc"], model.fc(x[4:]))
    assert features[TARGETS].tolist() == [4, 5, 6, 7, 8]


@pytest.mark.filterwarnings("ignore:capture")
def test_more_targets_than_rows_are_never_cut_to_fit():
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 16), nn.Linear(16, 3))
    with windowed(model, ["0"], samples=8) as (features, kept):  # of (10, 64, 16), tokens first, 8 rows would be enough
        model(torch.randn(10, 64, 16))
        with pytest.raises(InputError, match="64 targets for 10 rows"):
            kept.pair(torch.zeros(64))
        assert TARGETS not in features


def test_a_block_that_hands_on_what_entered_gives_that_and_not_what_lies_beside_it():
    class Block(nn.Module):
        def forward(self, x, bias=None):
            return x + 1, torch.zeros(1, 2, x.shape[1], x.shape[1]), None

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.head = Block(), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.block(x=x)[0].mean(1))

    model, x = Model(), torch.randn(5, 6, 4)
    with capture(model, "block", strict=True) as features:
        model(x)
    assert torch.equal(features["block"], x + 1)


def test_no_forward_raises_where_warnings_are_errors(capsys):
    class Strange(nn.Module):
        def forward(self, x):
            return {"one": x, "other": x.sum()}

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.strange, self.head = Strange(), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.strange(x)["one"].T if len(x) == 4 else x)

    model = Holder()
    with warnings.catch_warnings(), capture(model, ["strange", "head"], samples=4) as features:
        warnings.simplefilter("error")
        model(torch.randn(4, 4))
        model(torch.randn(7, 4))
    assert features.problems["strange"] in capsys.readouterr().err


def test_what_torch_jit_compiled_is_refused_by_name_and_not_proposed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)))
    with pytest.raises(UsageError, match=r"torch\.jit"):
        capture(scripted)
    mixed = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), scripted, nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    with capture(mixed) as features:
        mixed(torch.randn(5, 4))
    assert set(features) == {"1", "4"}
    with pytest.raises(UsageError, match="2"):
        capture(mixed, ["2"])
