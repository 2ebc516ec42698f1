"""Padding is no feature: what the batch's own mask says of it."""

import pytest
import torch
from torch import nn

from connectivity_hooks.checking import make_condition
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.padding import Tokens
from connectivity_hooks.tasks import LOSSES
from connectivity_hooks.watching.probe import read_probe

N, LONGEST = 30, 6


class Reader(nn.Module):
    """Attention over the tokens that are there, with or without a decoder's name."""

    def __init__(self):
        super().__init__()
        self.embed, self.attention = nn.Embedding(11, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.body, self.act, self.head = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        x = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0, need_weights=False)[0]
        mask = attention_mask.unsqueeze(-1).to(x.dtype)
        return self.head((self.act(self.body(x)) * mask).sum(1) / mask.sum(1))


class PyTorchReader(Reader):
    """The same with PyTorch's name for the mask, in which True is padding."""

    def forward(self, x, src_key_padding_mask):
        return super().forward(x, ~src_key_padding_mask)


def padded(length, *, named=True, left=False, inverted=False):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, LONGEST + 1, (N, 1), generator=generator)
    ids = torch.randint(1, 11, (N, LONGEST), generator=generator)
    ids = torch.cat([ids, torch.full((N, length - LONGEST), 10)], 1)  # a token like any other
    mask = (torch.arange(length) < lengths).long()
    if left:
        ids, mask = ids.flip(1), mask.flip(1)
    mask = ~mask.bool() if inverted else mask
    inputs = {"input_ids": ids, "attention_mask": mask} if named else (ids, mask)
    return read_probe([(inputs, torch.arange(N) % 3)], N, seed=0)


def observation(split, pool="mean", kind=Reader, layers=("embed", "attention", "body", "act", "head:input")):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().eval()
    return Observation(model, split, LOSSES["cross-entropy"], layers, batch_size=8, pool=pool)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
@pytest.mark.parametrize("named", [True, False])
def test_features_do_not_depend_on_how_far_the_batch_is_padded(pool, named):
    short, long = (observation(padded(length, named=named), pool) for length in (LONGEST, 64))
    for layer in short.layers:
        torch.testing.assert_close(short.features(layer), long.features(layer), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_padding_on_the_left_is_padding_too(pool):
    seen = observation(padded(LONGEST + 3, left=True), pool, layers=["embed"])
    inputs, _ = next(iter(seen.split.batches(N)))
    values, mask = seen.model.embed(inputs["input_ids"]), inputs["attention_mask"].bool()
    rows = [value[kept] for value, kept in zip(values, mask, strict=True)]
    wanted = {
        "mean": [row.mean(0) for row in rows],
        "first": [row[0] for row in rows],
        "last": [row[-1] for row in rows],
    }
    torch.testing.assert_close(seen.features("embed"), torch.stack(wanted[pool]).detach())


def test_a_mask_of_padding_says_the_contrary():
    wanted = observation(padded(12, named=False))
    found = observation(padded(12, named=False, inverted=True), kind=PyTorchReader)
    for layer in wanted.layers:
        torch.testing.assert_close(found.features(layer), wanted.features(layer))


@pytest.mark.parametrize(
    "condition", ["separability", "feature-rank", "dropout-stability", "subnetwork", "memorization"]
)
def test_the_verdicts_are_those_of_the_same_samples_padded_less(condition):
    short, long = (
        list(make_condition(condition, seed=0).check(observation(padded(length), layers=("body", "act"))))
        for length in (LONGEST, 64)
    )
    assert [verdict.layer for verdict in short] == ["body", "act"]
    for one, other in zip(short, long, strict=True):
        assert one.holds is not None
        assert (one.holds, one.layer) == (other.holds, other.layer)
        assert one.measured == pytest.approx(other.measured, rel=1e-6, abs=1e-6)


def test_masks_of_an_encoder_and_a_decoder_are_told_apart():
    ids, two, three = torch.ones(2, 3).long(), torch.tensor([[1, 1, 0]] * 2), torch.tensor([[1, 0, 0]] * 2)
    inputs = {"input_ids": ids, "attention_mask": two, "decoder_input_ids": ids, "decoder_attention_mask": three}
    tokens = Tokens(Reader(), inputs)
    assert torch.equal(tokens.of("encoder.block.0"), two.bool())
    assert torch.equal(tokens.of("decoder.block.0"), three.bool())
    del inputs["decoder_attention_mask"]
    assert Tokens(Reader(), inputs).of("decoder.block.0") is None
    assert torch.equal(Tokens(Reader(), {"attention_mask": two}).of("decoder.layers.0"), two.bool())


@pytest.mark.parametrize(
    "inputs", [None, torch.ones(2, 3), {"attention_mask": torch.zeros(2, 1, 3, 3)}, {"attention_mask": None}, {"x": 1}]
)
def test_where_no_mask_says_which_tokens_are_padding_nothing_is_known(inputs):
    assert Tokens(Reader(), inputs).of("body") is None


def test_a_mask_that_is_added_to_attention_is_no_mask_of_tokens():
    assert Tokens(Reader(), {"attention_mask": torch.tensor([[0.0, -1e9]])}).of("body") is None
