"""Texts for language models: ``corpus.txt?block=N``, with the tokenizer that lies beside the checkpoints."""

import re

import pytest
import torch
from torch import nn
from word_tokenizers import TEXT, offer_tokenizers, save_tokenizer

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read as read_checkpoint
from connectivity_hooks.contracts import Tokenizer
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.data import text
from connectivity_hooks.tasks.data.loading import Placement, load_data

pytest.importorskip("tokenizers")
HERE = Placement(torch.device("cpu"), torch.float32, 1 << 30)
WORDS = ["[UNK]", "[PAD]", "[MASK]", *dict.fromkeys(TEXT.split())]
TOKENS = [WORDS.index(word) for word in TEXT.split()]  # 42 of them


class LanguageModel(nn.Module):
    def __init__(self, tokens=12):
        super().__init__()
        self.tokens, self.head = nn.Embedding(tokens, 4), nn.Linear(4, 12)

    def forward(self, input_ids, attention_mask=None):
        return {"logits": self.head(self.tokens(input_ids))}

    def get_input_embeddings(self):
        return self.tokens


class Plain(LanguageModel):
    def forward(self, x):
        return self.head(self.tokens(x))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    offer_tokenizers(monkeypatch)
    save_tokenizer(tmp_path / "run")
    (tmp_path / "corpus.txt").write_text(TEXT)
    return tmp_path


def read(spec, folders=(), **more):
    notes = []
    return *load_data(spec, HERE, tokenizers=folders, say=notes.append, **more), notes


def test_blocks_follow_each_other_and_the_tokens_are_the_targets(folder):
    train, test, notes = read(f"{folder}/corpus.txt?block=5", [folder / "run"])
    wanted = torch.tensor(TOKENS[:40]).view(8, 5)
    assert test is None
    assert torch.equal(train.inputs["input_ids"], wanted)
    assert torch.equal(train.inputs["attention_mask"], torch.ones(8, 5))
    assert torch.equal(train.targets(), wanted)
    assert notes == [f"{folder}/corpus.txt: 42 tokens are 8 blocks of 5; the last 2 are left out"]


@pytest.mark.parametrize(("test", "count"), [("0.25", 2), ("3", 3), ("0.01", 1)])
def test_the_last_blocks_are_the_test_split(folder, test, count):
    train, tested, _ = read(f"{folder}/corpus.txt?block=5&test={test}", [folder / "run"])
    whole = torch.tensor(TOKENS[:40]).view(8, 5)
    assert torch.equal(train.targets(), whole[:-count])
    assert torch.equal(tested.targets(), whole[-count:])


def test_a_file_for_the_test_split_and_caps_of_blocks(folder):
    (folder / "test.txt").write_text(TEXT * 2)
    spec = f"{folder}/corpus.txt?block=6&test_file={folder}/test.txt&test=5&train=3&seed=2"
    train, test, notes = read(spec, [folder / "run"])
    assert (len(train), len(test)) == (3, 5)
    chosen = torch.randperm(7, generator=torch.Generator().manual_seed(2))[:3].sort().values
    assert torch.equal(train.targets(), torch.tensor(TOKENS).view(7, 6)[chosen])
    assert notes == [
        f"{folder}/corpus.txt: train: 3 of 7 blocks are taken, drawn with seed 2",
        f"{folder}/corpus.txt: test: 5 of 14 blocks are taken, drawn with seed 2",
    ]


def test_a_long_text_is_cut_where_no_token_is(folder, monkeypatch):
    whole, _, _ = read(f"{folder}/corpus.txt?block=6", [folder / "run"])
    monkeypatch.setattr(text, "_PIECE", 7)
    pieces, _, _ = read(f"{folder}/corpus.txt?block=6", [folder / "run"])
    (folder / "corpus.txt").write_text(TEXT.replace("\n", " "))
    one_line, _, _ = read(f"{folder}/corpus.txt?block=6", [folder / "run"])
    assert torch.equal(pieces.targets(), whole.targets())
    assert torch.equal(one_line.targets(), whole.targets())


def test_a_model_with_names_of_its_own_gets_the_tokens_alone(folder):
    spec = f"{folder}/corpus.txt?block=5&mask=0.5"
    train, _, notes = read(spec, [folder / "run"], model=Plain)
    assert train.inputs.shape == (8, 5)
    assert any("'attention_mask' left out" in note for note in notes)


def test_hidden_tokens_are_those_of_bert_once_and_for_all(folder):
    (folder / "corpus.txt").write_text(TEXT * 1000)
    spec = f"{folder}/corpus.txt?block=50&mask=0.15"
    train, _, _ = read(spec, [folder / "run"])
    plain, _, _ = read(f"{folder}/corpus.txt?block=50", [folder / "run"])
    inputs, targets, tokens = train.inputs["input_ids"], train.targets(), plain.targets()
    drawn = targets != -100
    assert torch.equal(inputs[~drawn], tokens[~drawn])
    assert torch.equal(targets[drawn], tokens[drawn])
    # 42000 tokens: three standard errors of each share.
    assert abs(float(drawn.float().mean()) - 0.15) < 3 * (0.15 * 0.85 / 42000) ** 0.5
    masked, kept = (inputs == WORDS.index("[MASK]"))[drawn], (inputs == tokens)[drawn]
    error = 3 * (0.25 / int(drawn.sum())) ** 0.5
    assert abs(float(masked.float().mean()) - (0.8 + 0.1 / 12)) < error  # any token may be the mask token too
    assert abs(float(kept.float().mean()) - (0.1 + 0.1 / 12)) < error
    again, _, _ = read(spec, [folder / "run"])
    other, _, _ = read(f"{spec}&seed=1", [folder / "run"])
    assert torch.equal(again.inputs["input_ids"], inputs)
    assert not torch.equal(other.inputs["input_ids"], inputs)


def test_tokens_that_stand_for_no_text_are_never_hidden():
    tokenizer = Tokenizer(list, list, 9, "", frozenset({1, 2}), mask=2)
    tokens = torch.tensor([[1, 1, 1, 5]])
    inputs, targets = text.masked(tokens, 0.999, tokenizer, 0)
    assert targets.tolist() == [[-100, -100, -100, 5]]
    assert inputs[0, :3].tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="no token was drawn of 3"):
        text.masked(tokens[:, :3], 0.999, tokenizer, 0)


def test_a_task_finds_the_tokenizer_beside_its_checkpoint(folder):
    torch.manual_seed(0)
    ch.save(LanguageModel(), folder / "run" / "model.safetensors")
    checkpoint = read_checkpoint(folder / "run" / "model.safetensors")
    task = ch.make_task(
        model=LanguageModel, data=f"{folder}/corpus.txt?block=6&mask=0.5&test=2", checkpoints=[checkpoint]
    )
    assert [len(split) for split in task.splits()] == [5, 2]
    named = ch.make_task(model=LanguageModel, data=f"{folder}/corpus.txt?block=6&mask=0.5&tokenizer={folder}/run")
    assert len(named.train) == 7


def test_a_tokenizer_that_is_missing(folder):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"a tokenizer is missing; looked in .*empty for .*tokenizer=FOLDER"):
        read(f"{folder}/corpus.txt?block=5", [folder / "empty"])
    with pytest.raises(InputError, match="a tokenizer is missing; looked in no checkpoint"):
        read(f"{folder}/corpus.txt?block=5")
    train, _, _ = read(f"{folder}/corpus.txt?block=5", [folder / "empty", folder / "run"])
    assert len(train) == 8


def test_two_tokenizers_are_refused_and_two_copies_of_one_are_not(folder):
    save_tokenizer(folder / "same")
    save_tokenizer(folder / "other", ["more"])
    assert len(read(f"{folder}/corpus.txt?block=5", [folder / "run", folder / "same"])[0]) == 8
    with pytest.raises(InputError, match=r"tokenizers of .*run and .*other are different, of 12 and 13 tokens"):
        read(f"{folder}/corpus.txt?block=5", [folder / "run", folder / "other"])


def test_tokens_beyond_the_model_are_refused(folder):
    with pytest.raises(InputError, match=r"makes token 11, and the model has embeddings for 11"):
        read(f"{folder}/corpus.txt?block=5", [folder / "run"], model=lambda: LanguageModel(11))


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("", UsageError, "expected ?block=N"),
        ("block=0", UsageError, "block is 0"),
        ("block=100", InputError, "has 42 tokens, fewer than one block of 100"),
        ("block=5&test=8", InputError, "has 8 blocks, 8 of them for the test split"),
        ("block=5&test=1.5", UsageError, "test is 1.5; expected a share between 0 and 1"),
        ("block=5&mask=15", UsageError, "mask is 15; expected a share"),
        ("block=5&blok=3", UsageError, "no option 'blok'; did you mean 'block'"),
        ("block=5&test_file=nowhere.txt", InputError, "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(folder, query, error, words):
    with pytest.raises(error, match=re.escape(words)):
        read(f"{folder}/corpus.txt?{query}", [folder / "run"])


def test_a_tokenizer_without_a_mask_token_and_a_file_that_is_no_text(folder):
    save_tokenizer(folder / "bare", mask=False)
    with pytest.raises(UsageError, match="has no token for it"):
        read(f"{folder}/corpus.txt?block=5&mask=0.15", [folder / "bare"])
    (folder / "corpus.txt").write_bytes(b"the \xff cat" * 9)
    with pytest.raises(InputError, match="is not a text in UTF-8"):
        read(f"{folder}/corpus.txt?block=5", [folder / "run"])


def test_blocks_that_do_not_fit_the_model_are_answered_with_the_option_that_makes_them_shorter(folder):
    class Positions(LanguageModel):
        def forward(self, input_ids, attention_mask=None):
            torch.arange(3)[input_ids.shape[1] - 1]  # a table of three positions
            return super().forward(input_ids)

    spec = f"{folder}/corpus.txt?block=5&tokenizer={folder}/run"
    with pytest.raises(InputError, match=r"do not fit the model .*give a smaller \?block="):
        ch.make_task(model=Positions, data=spec)
    ch.make_task(model=Positions, data=spec.replace("block=5", "block=3"))
