"""Data as Transformers' users have it: files with several named inputs, tokenizers, dict batches of its own kinds."""

import numpy as np
import pytest
import torch
from word_tokenizers import TEXT, offer_tokenizers, save_tokenizer

import connectivity_hooks as ch
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks.errors import InputError

hf = pytest.importorskip("transformers")

from connectivity_hooks_transformers.tokenizing import tokenizer_of  # noqa: E402

TINY = {
    "vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 16,
}  # fmt: skip
MODELS = f"""
import torch, transformers as hf
from transformers import BatchEncoding
TINY = {TINY}
def bert(): return hf.BertForSequenceClassification(hf.BertConfig(**TINY, num_labels=3))
def masked(): return hf.BertForMaskedLM(hf.BertConfig(**TINY))
IDS, MASK = [[3, 4, 5], [6, 7, 0], [8, 0, 0], [9, 9, 9]], [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]
MORE = {{"labels": [0, 1, 2, 0], "idx": [5, 6, 7, 8], "sentence": ["a", "b", "c", "d"]}}
def encoded():
    batch = BatchEncoding({{"input_ids": torch.tensor(IDS), "attention_mask": torch.tensor(MASK), **MORE}})
    batch["labels"] = torch.tensor(batch["labels"])
    return [batch], [batch]
def lists():
    batch = BatchEncoding({{"input_ids": IDS, "attention_mask": MASK, **MORE}})
    return [batch, batch], [batch]
def misspelt():
    ids, mask = torch.tensor(IDS), torch.tensor(MASK)
    return [{{"input_ids": ids, "atention_mask": mask, "labels": torch.tensor([0, 1, 2, 0])}}]
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    return f"{tmp_path}/models.py"


def ends(tmp_path, make, where="run"):
    (tmp_path / where).mkdir(exist_ok=True)
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        files.append(str(tmp_path / where / f"{seed}.safetensors"))
        ch.save(make(), files[-1])
    return files


def bert():
    return hf.BertForSequenceClassification(hf.BertConfig(**TINY, num_labels=3))


def masked():
    return hf.BertForMaskedLM(hf.BertConfig(**TINY))


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_connect_on_a_file_with_several_named_inputs(tmp_path, code, form):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 8), ("test", 6)):
        arrays[f"x_{split}.input_ids"] = rng.integers(0, 16, (count, 5))
        arrays[f"x_{split}.attention_mask"] = (np.arange(5) < rng.integers(1, 6, (count, 1))).astype(np.int64)
        arrays[f"x_{split}.idx"] = np.arange(count)
        arrays[f"y_{split}"] = rng.integers(0, 3, count)
    if form == "npz":
        np.savez(tmp_path / "d.npz", **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, tmp_path / "d.safetensors")
    a, b = ends(tmp_path, bert)
    data = f"{tmp_path}/d.{form}?train=7&test=5"
    made = ["--model", f"{code}:bert", "--data", data, "--builder", "linear", "--out", str(tmp_path / "out")]
    assert exit_status("connectivity-hooks", lambda: group, ["connect", a, b, *made]) in (0, 1)
    task = ch.make_task(model=bert, data=data)
    assert task.train.inputs.keys() == {"input_ids", "attention_mask"}
    inputs, targets = next(iter(task.test.batches(5)))
    model = task.model().double()
    with torch.no_grad():
        own = model(**inputs, labels=targets).loss
        ours = task.loss.measure(model(**inputs).logits, targets).mean()
    torch.testing.assert_close(ours, own)


@pytest.mark.parametrize("name", ["encoded", "lists"])
def test_columns_that_the_model_does_not_take_are_left_out_and_said(code, name):
    task = ch.make_task(model=bert, data=f"{code}:{name}")
    assert task.train.inputs.keys() == {"input_ids", "attention_mask"}
    assert task.train.targets().tolist()[:4] == [0, 1, 2, 0]
    assert f"{code}:{name}: 'idx', 'sentence' left out, BertForSequenceClassification.forward does not take it" in (
        task.notes
    )


def test_a_name_that_is_another_misspelt_is_refused(code):
    with pytest.raises(InputError, match="'atention_mask'"):
        ch.make_task(model=bert, data=f"{code}:misspelt")


def test_connect_on_a_text_with_masked_words(tmp_path, code, monkeypatch):
    offer_tokenizers(monkeypatch)
    a, b = ends(tmp_path, masked)
    save_tokenizer(tmp_path / "run")
    (tmp_path / "corpus.txt").write_text(TEXT * 4)
    data = f"{tmp_path}/corpus.txt?block=8&mask=0.3&test=0.2&train=10"
    made = ["--model", f"{code}:masked", "--data", data, "--builder", "linear", "--out", str(tmp_path / "out")]
    assert exit_status("connectivity-hooks", lambda: group, ["connect", a, b, *made]) in (0, 1)


def test_files_of_save_pretrained_and_tokenizer_json_alone_are_the_same_tokenizer(tmp_path):
    save_tokenizer(tmp_path / "alone")
    file = str(tmp_path / "alone" / "tokenizer.json")
    made = hf.PreTrainedTokenizerFast(tokenizer_file=file, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")
    made.save_pretrained(tmp_path / "whole")
    alone, whole = tokenizer_of(tmp_path / "alone"), tokenizer_of(tmp_path / "whole")
    for each in (alone, whole):
        assert (each.size, each.mask, each.pad, each.special) == (12, 2, 1, {0, 1, 2})
        assert each.encode("the cat sat") == [3, 4, 5]
    assert alone.vocabulary == whole.vocabulary
    assert tokenizer_of(tmp_path) is None


def test_ends_of_texts_are_marked_only_where_asked(tmp_path):
    from tokenizers import Tokenizer, processors

    save_tokenizer(tmp_path / "run", ["[CLS]", "[SEP]"])
    file = str(tmp_path / "run" / "tokenizer.json")
    made = Tokenizer.from_file(file)
    marks = [(word, made.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    made.enable_truncation(2)
    made.enable_padding()
    made.save(file)
    tokenizer = tokenizer_of(tmp_path / "run")
    assert tokenizer.encode("the cat sat") == [3, 4, 5]
    assert tokenizer.encode_whole("the cat") == [marks[0][1], 3, 4, marks[1][1]]


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": "{"},
        {"tokenizer.json": "{}"},
        {"tokenizer_config.json": "{"},
        {"tokenizer_config.json": '{"tokenizer_class": "NoSuchTokenizer"}'},
        {
            "tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}',
            "evil.py": "1 / 0",
        },
    ],
)
def test_a_damaged_or_hostile_tokenizer_is_one_line_and_runs_nothing(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        tokenizer_of(tmp_path)
    assert "\n" not in str(caught.value)
