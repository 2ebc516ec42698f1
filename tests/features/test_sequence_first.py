"""Rows of the training's own passes are samples, never tokens: also where a batch has as many tokens as samples."""

import warnings

import pytest
import torch
from torch import nn
from watched_training import Mean

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.sequence_first import SequenceFirst
from connectivity_hooks.features.window import TARGETS, Window

pytestmark = pytest.mark.filterwarnings("ignore:capture")


class Encoded(nn.Module):
    """Takes (N, T) or (T, N), and works on (T, N, n) inside unless `batch_first`; gives (N, 3)."""

    def __init__(self, *, batch_first=False, given_tokens_first=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
        self.embed, self.encoder = nn.Embedding(20, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.batches_inside, self.given_tokens_first = batch_first, given_tokens_first

    def forward(self, x):
        x = self.embed(x)
        if self.given_tokens_first == self.batches_inside:
            x = x.transpose(0, 1)
        x = self.mix(self.encoder(x))
        return self.head(x.mean(1 if self.batches_inside else 0))


LAYERS = ["embed", "encoder", "encoder.layers.0.linear1", "mix", "head"]


def passed(model, x, targets):
    window = Window(model, samples=100, left_out=LeftOut("warn"))
    with Capture(model, LAYERS, window) as features:
        model(x)
        window.pair(targets)
    return dict(features)


def of_one_sample(model, layer, x):
    """Return the mean over positions, whichever axis they are, of what a layer puts out for a batch of one sample."""
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0].flatten(0, -2).mean(0)


@pytest.mark.parametrize(("samples", "tokens"), [(12, 5), (9, 9), (1, 1)])
@pytest.mark.parametrize("given_tokens_first", [False, True])
def test_every_row_kept_is_its_sample(samples, tokens, given_tokens_first):
    model = Encoded(given_tokens_first=given_tokens_first)
    x = torch.randint(0, 20, (tokens, samples) if given_tokens_first else (samples, tokens))
    if given_tokens_first and samples != tokens:
        with pytest.raises(InputError, match="12 targets for 5 rows"):  # of other rows than passed: nothing is kept
            passed(model, x, torch.arange(samples))
        return
    found = passed(model, x, torch.arange(samples))
    assert torch.equal(found.pop(TARGETS), torch.arange(samples))
    assert "head" in found
    for layer, feature in found.items():
        for row in range(samples):
            alone = x[:, row : row + 1] if given_tokens_first else x[row : row + 1]
            torch.testing.assert_close(feature[row], of_one_sample(model, layer, alone))


def test_layers_whose_rows_may_be_tokens_are_left_out():
    assert passed(Encoded(), torch.randint(0, 20, (12, 5)), torch.arange(12)).keys() == {*LAYERS, TARGETS}
    declared = {"encoder", "encoder.layers.0.linear1", "head", TARGETS}
    assert passed(Encoded(), torch.randint(0, 20, (9, 9)), torch.arange(9)).keys() == declared


def test_without_targets_what_may_be_tokens_is_not_kept():
    declared = {"encoder", "encoder.layers.0.linear1", "head"}
    for given_tokens_first in (False, True):
        model = Encoded(given_tokens_first=given_tokens_first)
        found = passed(model, torch.randint(0, 20, (12, 5)), None).keys()
        assert found <= ({"head"} if given_tokens_first else declared)


def test_channels_last_maps_have_their_own_channels_for_neurons():
    class Patches(nn.Module):
        """Takes (N, C, H, W), and works on (N, H, W, n), as Swin does."""

        def __init__(self):
            super().__init__()
            self.embed, self.norm, self.head = nn.Conv2d(3, 6, 2, 2), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.norm(self.embed(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, x = Patches(), torch.randn(5, 3, 8, 8)
    window = Window(model, samples=100, left_out=LeftOut("warn"))
    with Capture(model, ["embed", "norm"], window) as features:
        model(x)
        window.pair(torch.arange(5))
    maps = model.embed(x)
    torch.testing.assert_close(features["embed"], maps.mean((2, 3)))
    torch.testing.assert_close(features["norm"], model.norm(maps.permute(0, 2, 3, 1)).mean((1, 2)))


def test_batch_first_modules_lose_nothing():
    model, x = Encoded(batch_first=True), torch.randint(0, 20, (9, 9))
    found = passed(model, x, None)
    assert found.keys() == set(LAYERS)
    torch.testing.assert_close(found["encoder"], model.encoder(model.embed(x)).mean(1))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_of_pytorchs_default_are_left_out(kind):
    for batch_first in (False, True):
        said = SequenceFirst(nn.Sequential(kind(4, 8, batch_first=batch_first)))
        assert said.rows("0", torch.zeros(6, 6, 8), 6) == ("first" if batch_first else "second")
        if not batch_first:
            with pytest.raises(InputError, match="batch_first"):
                said.rows("0", torch.zeros(5, 6, 8), 5)


def test_models_without_such_modules_are_not_asked():
    assert SequenceFirst(nn.Sequential(nn.Conv2d(3, 3, 1))).rows("0", torch.zeros(3, 3, 3, 3), 3) == "first"


@pytest.mark.parametrize(("samples", "tokens"), [(12, 5), (9, 9)])
def test_every_row_of_a_sample_of_the_stream_is_its_sample(samples, tokens, recwarn):
    model, x = Encoded(), torch.randint(0, 20, (2 * samples, tokens))
    warnings.simplefilter("always")
    with ch.capture(model, [*LAYERS, "encoder.layers.0.linear1:input"], samples=7) as features:
        for batch in x.split(samples):
            model(batch)
    inside = {"encoder", "encoder.layers.0.linear1"}
    unclear = {"embed", "mix"} if samples == tokens else {"mix"}  # `mix` puts out tokens first, and does not say
    assert set(features) == {*LAYERS, "encoder.layers.0.linear1:input"} - unclear
    for layer in sorted(inside | {"embed"} - unclear):
        for row, sample in enumerate(features.indices):
            alone = of_one_sample(model, layer, x[sample : sample + 1])
            torch.testing.assert_close(features[layer][row].mean(0), alone)
    for left_out in unclear:
        assert len([each for each in recwarn if f"{left_out} is left out" in str(each.message)]) == 1


def test_where_nothing_tells_samples_from_tokens_the_layer_is_left_out():
    model, x = Encoded(given_tokens_first=True), torch.randint(0, 20, (5, 12))
    reason = "embed is left out: .* nothing tells whether its rows are samples"
    with ch.capture(model, ["embed"], samples=7) as features:
        with pytest.warns(UserWarning, match=reason):
            model(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(x)
    assert len(features) == 0


def test_a_pass_that_is_kept_whole_keeps_its_axes():
    model, x = Encoded(), torch.randint(0, 20, (9, 9))
    with ch.capture(model, ["encoder"]) as features:
        model(x)
    torch.testing.assert_close(features["encoder"], model.encoder(model.embed(x).transpose(0, 1)))


@pytest.mark.parametrize("samples", [6, 7])
def test_images_that_are_read_in_lines_keep_their_maps(samples):
    class Read(nn.Module):
        """Convolutions whose columns a sequence-first LSTM reads, as in text recognition."""

        def __init__(self):
            super().__init__()
            self.conv, self.act, self.lstm = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.LSTM(6, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.lstm(self.act(self.conv(x)).mean(2).permute(2, 0, 1))[0].mean(0))

    model, x = Read(), torch.randn(samples, 1, 8, 9)
    with ch.capture(model, ["act", "head"], samples=samples) as features:
        model(x)
    torch.testing.assert_close(features["act"], model.act(model.conv(x)))
    assert features["head"].shape == (samples, 2)


def test_a_watched_training_is_told_once_and_goes_on(recwarn):
    model = Encoded()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    listening = {"mode": "training", "every": 1, "capture_every": 1, "layers": LAYERS, "samples": 9}
    warnings.simplefilter("always")
    with ch.watch(model, conditions=[Mean()], **listening) as watch:
        for _ in range(3):
            model(torch.randint(0, 20, (9, 9))).square().mean().backward()
            optimizer.step()
            watch.step(targets=torch.arange(9) % 3)
    assert len([each for each in recwarn if "mix is left out" in str(each.message)]) == 1
    measured = {row.layer for row in watch.history if row.status != "invalid"}
    assert measured == {"encoder", "encoder.layers.0.linear1", "head"}
