"""One option says how positions become neurons: for all layers or for some, wherever features are taken."""

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.checking import make_condition, observe
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.padding import Tokens
from connectivity_hooks.features.pooling import Pooling
from connectivity_hooks.features.view import neurons_last
from connectivity_hooks.features.window import Window
from connectivity_hooks.tasks import LOSSES, Task
from connectivity_hooks.watching.probe import read_probe

N, T = 6, 5
MASK = (torch.arange(T) < torch.tensor([[5], [3], [1], [4], [2], [5]])).long()


class Tagged(nn.Module):
    """Embeds tokens (N, T); the output is one answer a sample."""

    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(11, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask=None):
        x = self.body(self.embed(input_ids)).relu()
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.head((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class Given(Tagged):
    """Says what a library's models say of their class token."""

    def __init__(self, **said):
        super().__init__()
        for name, value in said.items():
            setattr(self, name, value)


class Config:
    """A configuration of XLNet's kind."""

    def __init__(self, summary_type):
        self.summary_type = summary_type


def ids(length=T):
    shown = torch.randint(1, 11, (N, T), generator=torch.Generator().manual_seed(0))
    return torch.cat([shown, torch.full((N, length - T), 10)], 1)


def mask(length=T):
    return torch.cat([MASK, torch.zeros(N, length - T, dtype=torch.long)], 1)


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tagged().eval()


def by_hand(values, pool):
    """Return in float64, sample by sample, what is pooled of values (N, T, n)."""
    rows = [row[:count].double() for row, count in zip(values, MASK.sum(1), strict=True)]
    taken = {"mean": lambda row: row.mean(0), "first": lambda row: row[0], "last": lambda row: row[-1]}
    return torch.stack([taken["first" if pool == "class" else pool](row) for row in rows]).float()


def observed(pool, length=T, layers=("embed", "body")):
    inputs = {"input_ids": ids(length), "attention_mask": mask(length)}
    split = read_probe([(inputs, torch.arange(N) % 3)], N, seed=0)
    return Observation(model(), split, LOSSES["cross-entropy"], layers, batch_size=4, pool=pool)


@pytest.mark.parametrize("pool", ["mean", "first", "last", "class"])
def test_check_capture_and_a_watched_training_take_the_same_neurons(pool):
    net, wanted = model(), by_hand(model().embed(ids()).detach(), pool)
    torch.testing.assert_close(observed(pool).features("embed"), wanted)
    with ch.capture(net, "embed", pool=pool) as features:
        net(ids(), attention_mask=mask())
    torch.testing.assert_close(features["embed"], wanted)
    with ch.capture(net, "embed", pool=pool, samples=N) as features:
        net(ids(), mask())  # by its place among the arguments
    torch.testing.assert_close(features["embed"], wanted[features.indices])
    window = Window(net.train(), samples=N, pool=pool, left_out=LeftOut("raise"))
    with Capture(net, ["embed"], window) as passed:
        net(ids(), attention_mask=mask())
        window.pair(torch.arange(N))
    torch.testing.assert_close(passed["embed"], wanted)
    assert window.words() == {"embed": {"pool": pool, "padding": "left out"}}


@pytest.mark.parametrize("pool", ["mean", "first", "last", "class"])
def test_neighbours_that_make_a_batch_longer_change_nothing(pool):
    short, long = observed(pool), observed(pool, 40)
    for layer in short.layers:
        torch.testing.assert_close(short.features(layer), long.features(layer), rtol=1e-6, atol=1e-6)
    captured = []
    for length in (T, 40):
        net = model()
        with ch.capture(net, "body", pool=pool) as features:
            net(ids(length), attention_mask=mask(length))
        captured.append(features["body"])
    torch.testing.assert_close(*captured, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pools", [["last", "bo*=first"], {"": "last", "bo*": "first"}])
def test_each_layer_may_have_its_own(pools):
    seen = observed(pools)
    net = model()
    values = net.embed(ids()).detach()
    torch.testing.assert_close(seen.features("embed"), by_hand(values, "last"))
    torch.testing.assert_close(seen.features("body"), by_hand(net.body(values).detach(), "first"))
    assert seen.pooled("body") == {"pool": "first", "padding": "left out"}
    assert seen.unused_pools() == []


def test_what_was_done_with_positions_is_in_every_verdict():
    found = make_condition("feature-rank", seed=0).check(observed({"body": "last"}))
    details = {verdict.layer: verdict.details for verdict in found}
    assert [(name, each["pool"], each["padding"]) for name, each in details.items()] == [
        ("embed", "mean", "left out"),
        ("body", "last", "left out"),
    ]


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ("middle", "expected one of mean, flatten, first, last, class"),
        (["first", "last"], "another is named for all layers"),
        ("=last", "names no layer before the ="),
        ({"boddy": "last"}, "no layer 'boddy' in Tagged; .*body"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(pools, said):
    with pytest.raises(UsageError, match=said):
        Pooling(model(), pools)
    with pytest.raises(UsageError, match=said):
        ch.watch(model(), (ids(), torch.arange(N)), pool=pools, conditions="feature-rank")


def test_a_pool_for_a_layer_that_is_not_looked_at_is_named():
    seen = observed({"head": "last"})
    seen.widths()
    assert seen.unused_pools() == ["head=last: head is not among the layers that are looked at"]


def test_the_class_token_is_where_the_model_says_it_is():
    assert Pooling(Given(config=Config("last")), "class").of("embed") == "last"
    assert Pooling(Given(config=Config("first")), "class").of("embed") == "first"
    assert Pooling(Given(num_prefix_tokens=1), "class").of("embed") == "first"
    for said in ({"num_prefix_tokens": 0}, {"cls_token": None}, {"class_token": False}):
        with pytest.raises(InputError, match="Given has no class token"):
            Pooling(Given(**said), "class").of("embed")


@pytest.mark.parametrize("pool", ["first", "last"])
def test_maps_have_no_first_token(pool):
    with pytest.raises(InputError, match=f"2 axes of positions, and no {pool} token"):
        neurons_last(torch.zeros(2, 3, 4, 4), pool=pool)


def test_a_mask_of_pixels_is_used_where_it_is_of_the_maps_own_size():
    maps, pixels = torch.randn(2, 3, 4, 5), torch.ones(2, 4, 5).long()
    pixels[1, 2:] = 0
    tokens = Tokens(nn.Identity(), {"pixel_values": maps, "pixel_mask": pixels})
    known = tokens.at("conv", maps)
    torch.testing.assert_close(neurons_last(maps, tokens=known)[1], maps[1, :, :2].mean((1, 2)))
    assert tokens.at("conv", maps[:, :, ::2]) is None


def test_a_decoder_without_a_mask_has_the_positions_that_have_labels():
    labels = torch.tensor([[4, 5, -100], [4, -100, -100]])
    inputs = {"input_ids": ids()[:2], "attention_mask": mask()[:2], "decoder_input_ids": labels, "labels": labels}
    assert torch.equal(Tokens(model(), inputs).of("decoder.block.0"), labels != -100)


def test_a_tower_for_images_has_not_the_mask_of_the_text_beside_it():
    inputs = {"input_ids": ids(), "attention_mask": mask(), "pixel_values": torch.zeros(N, 3, 4, 4)}
    tokens = Tokens(model(), inputs)
    assert tokens.of("vision_model.encoder.layers.0") is None
    assert torch.equal(tokens.of("text_model.encoder.layers.0"), mask().bool())


class Shorter(nn.Module):
    """Halves the positions that it was given."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 6, 2, 2), nn.Linear(6, 3)

    def forward(self, input_values, attention_mask):
        return self.head(self.conv(input_values[:, None]).mean(2))


def test_padding_that_nothing_tells_is_said_to_be_averaged_in():
    held = torch.ones(N, 8).long()
    for padded in (False, True):
        held[0, 4:] = 0 if padded else 1
        inputs = {"input_values": torch.randn(N, 8), "attention_mask": held}
        task = Task(Shorter, read_probe([(inputs, torch.arange(N) % 3)], N, seed=0))
        seen = observe(Shorter().eval(), task, layers=["conv"])
        seen.features("conv")
        assert bool(seen.remarks()) == padded
        assert seen.pooled("conv") == {"pool": "mean", **({"padding": "averaged in"} if padded else {})}
    assert "padding is averaged in with conv: the mask is of positions (8,), its own are (4,)" in seen.remarks()[0]
    with pytest.warns(UserWarning, match="padding is averaged in with conv"):
        ch.check(Shorter().eval(), task, "feature-rank", layers=["conv"])


def test_a_watched_training_goes_on_and_says_it_once_though_faults_are_raised(recwarn):
    held = torch.ones(N, 8).long()
    held[0, 4:] = 0
    batch = ({"input_values": torch.randn(N, 8), "attention_mask": held}, torch.arange(N) % 3)
    asked = {"every": 1, "conditions": "feature-rank", "layers": ["conv"], "strict": True}
    with ch.watch(Shorter(), [batch], **asked) as watch:
        watch.step()
        watch.step()
    assert len([each for each in recwarn if "padding is averaged in" in str(each.message)]) == 1
    assert watch.verdicts[0].details["padding"] == "averaged in"
    assert watch.faults == ()


def test_a_head_behind_a_decoder_has_its_positions_and_a_shared_embedding_those_of_its_own_length():
    labels = torch.tensor([[4, 5, -100], [4, -100, -100]])
    inputs = {"input_ids": ids()[:2], "attention_mask": mask()[:2], "decoder_input_ids": labels, "labels": labels}
    tokens = Tokens(model(), inputs)
    assert torch.equal(tokens.at("lm_head:input", torch.zeros(2, 8, 3)), labels != -100)
    assert torch.equal(tokens.at("shared[0]", torch.zeros(2, 8, T)), mask()[:2].bool())
    assert torch.equal(tokens.at("encoder.block.0", torch.zeros(2, 8, T)), mask()[:2].bool())
