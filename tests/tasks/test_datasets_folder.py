"""Folders that ``save_to_disk`` of the library datasets wrote, and its data sets themselves."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from word_tokenizers import offer_tokenizers, save_tokenizer

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.data.loading import Placement, load_data
from connectivity_hooks.tasks.split import draw

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
HERE = Placement(torch.device("cpu"), torch.float32, 1 << 30)
IDS = [[3, 4, 5], [6, 7], [8], [9, 10]]


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(20, 3)

    def forward(self, input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return (self.tokens(input_ids) * mask[..., None]).sum(1)


class Sees(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(60, 3)

    def forward(self, pixels):
        return self.linear(pixels.flatten(1))


def sentences(**more):
    columns = {"input_ids": IDS, "idx": [0, 1, 2, 3], "words": ["a", "b", "c", "d"], "label": [0, 1, 2, 0]}
    return datasets.Dataset.from_dict({**columns, **more})


def saved(tmp_path, **splits):
    found = splits or {"train": sentences(), "test": sentences().select([1, 3])}
    datasets.DatasetDict(found).save_to_disk(tmp_path / "data")
    return str(tmp_path / "data")


def read(spec, model=Reads, folders=(), **more):
    notes, made = [], model()
    return *load_data(spec, HERE, model=lambda: made, tokenizers=folders, say=notes.append, **more), notes


def test_columns_by_name_padded_alike_in_both_splits_and_masked(tmp_path):
    train, test, notes = read(folder := saved(tmp_path))
    assert train.inputs.keys() == {"input_ids", "attention_mask"}
    assert train.inputs["input_ids"].tolist() == [[3, 4, 5], [6, 7, 0], [8, 0, 0], [9, 10, 0]]
    assert test.inputs["input_ids"].tolist() == [[6, 7, 0], [9, 10, 0]]
    assert train.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert train.targets().tolist() == [0, 1, 2, 0]
    assert notes == [
        f"{folder}: 'idx', 'words' left out, Reads.forward does not take it",
        f"{folder}: 'input_ids' is filled up to 3 with token 0, and masked",
    ]


def test_samples_are_drawn_and_sequences_cut(tmp_path):
    train, test, _ = read(f"{saved(tmp_path)}?train=3&test=1&length=2&seed=1")
    rows = draw(4, 3, 1).tolist()
    assert train.targets().tolist() == [[0, 1, 2, 0][row] for row in rows]
    cut = [[*IDS[row], 0][:2] for row in rows]
    assert train.inputs["input_ids"].tolist() == cut
    assert train.inputs["attention_mask"].tolist() == [[1, int(ids[1] != 0)] for ids in cut]
    assert len(test) == 1


def test_the_pad_token_is_the_tokenizers_or_the_configurations(tmp_path, monkeypatch):
    offer_tokenizers(monkeypatch)
    folder = saved(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"pad_token_id": 17}')
    assert read(folder, folders=[tmp_path / "run"])[0].inputs["input_ids"][2].tolist() == [8, 17, 17]
    save_tokenizer(tmp_path / "run")
    assert read(folder, folders=[tmp_path / "run"])[0].inputs["input_ids"][2].tolist() == [8, 1, 1]


def test_a_mask_of_its_own_and_labels_of_tokens(tmp_path):
    masks = [[1] * len(ids) for ids in IDS]
    masks[0][0] = 0
    train, _, _ = read(saved(tmp_path, train=sentences(attention_mask=masks, labels=IDS)))
    assert train.inputs["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert train.targets().tolist() == [[3, 4, 5], [6, 7, -100], [8, -100, -100], [9, 10, -100]]


def test_one_data_set_is_a_training_split_of_arrays_and_numbers(tmp_path):
    class Mixed(nn.Module):
        def forward(self, x, grid, flag, count):
            return x

    data = {"x": [[0.5, 1.5]] * 3, "grid": [[[1, 2], [3, 4]]] * 3, "flag": [True, False, True], "count": [7, 8, 9]}
    features = datasets.Features(
        x=datasets.Sequence(datasets.Value("float32"), length=2), grid=datasets.Array2D((2, 2), "int32"),
        flag=datasets.Value("bool"), count=datasets.Value("uint32"), y=datasets.Value("float64"),
    )  # fmt: skip
    datasets.Dataset.from_dict({**data, "y": [1.0, 2.0, 3.0]}, features=features).save_to_disk(tmp_path / "one")
    train, test, _ = read(f"{tmp_path}/one?target=y", Mixed, loss="mse")
    assert test is None
    assert {name: value.tolist() for name, value in train.inputs.items()} == data
    assert train.inputs["grid"].dtype == torch.int64
    assert train.targets().tolist() == [1.0, 2.0, 3.0]


def pictures(size=(4, 5), mode="RGB", count=4):
    rng = np.random.default_rng(0)
    found = [Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).convert(mode) for _ in range(count)]
    features = datasets.Features(img=datasets.Image(), fine=datasets.Value("int64"), label=datasets.Value("int64"))
    columns = {"img": found, "fine": list(range(count)), "label": [each % 3 for each in range(count)]}
    return found, datasets.Dataset.from_dict(columns, features=features)


def test_images_are_decoded_and_go_to_the_models_first_argument(tmp_path):
    found, data = pictures()
    train, _, notes = read(folder := saved(tmp_path, train=data), Sees)
    wanted = torch.from_numpy(np.stack([np.asarray(each) for each in found])).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(train.inputs, wanted)
    assert notes == [
        f"{folder}: 'fine' left out, Sees.forward does not take it",
        f"{folder}: bytes of inputs are scaled to [0, 1]; --layout as-is leaves them as they are",
    ]
    assert read(f"{folder}?target=fine", Sees)[0].targets().tolist() == [0, 1, 2, 3]
    assert read(folder, Sees, image_size=3)[0].inputs.shape == (4, 3, 3, 3)
    assert read(saved(tmp_path / "gray", train=pictures(mode="L")[1]), Sees)[0].inputs.shape == (4, 1, 4, 5)


def test_images_that_lie_elsewhere_are_never_looked_up(tmp_path):
    plain = datasets.Features(img={"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    for path in ("http://nowhere.invalid/a.png", "/etc/hostname", None):
        data = datasets.Dataset.from_dict({"img": [{"bytes": None, "path": path}]}, features=plain)
        folder = saved(tmp_path, train=data)
        with pytest.raises(InputError, match="its image is not in the folder"):
            read(folder, Sees)


def test_a_column_of_texts_is_tokenised_where_the_model_takes_tokens(tmp_path, monkeypatch):
    offer_tokenizers(monkeypatch)
    save_tokenizer(tmp_path / "run")
    data = datasets.Dataset.from_dict({"words": ["the cat", "the dog sat"], "label": [0, 1]})
    folder = saved(tmp_path, train=data)
    train, _, notes = read(folder, folders=[tmp_path / "run"])
    assert train.inputs["input_ids"].tolist() == [[3, 4, 1], [3, 10, 5]]
    assert train.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert f"{folder}: column 'words' is tokenised" in notes
    with pytest.raises(InputError, match="a tokenizer is missing"):
        read(folder)


def test_which_splits_are_taken(tmp_path):
    hidden = sentences(label=[-1] * 4)
    folder = saved(tmp_path, train=sentences(), test=hidden, validation=sentences().select([2]))
    _, test, notes = read(folder)
    assert test.targets().tolist() == [2]
    assert notes[0] == f"{folder}: every label of split 'test' is -1, so it is not measured on"
    train, test, _ = read(f"{folder}?train_split=validation&test_split=train")
    assert (len(train), len(test)) == (1, 4)
    with pytest.raises(UsageError, match="no split 'tset'; did you mean 'test'"):
        read(f"{folder}?test_split=tset")
    with pytest.raises(InputError, match=r"has no split 'train', but a, b; say \?train_split=NAME"):
        read(saved(tmp_path / "other", a=sentences(), b=sentences()))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("target=lable", "no column 'lable'; did you mean 'label'"),
        ("text=idx", "no column of texts 'idx'"),
        ("length=0", "length is 0"),
        ("blocks=3", "no option 'blocks'"),
    ],
)
def test_options_that_name_nothing_are_wrong_usage(tmp_path, query, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        read(f"{saved(tmp_path)}?{query}")


def test_what_is_no_tensor_is_left_out_and_said(tmp_path):
    class Anything(nn.Module):
        def forward(self, input_ids, attention_mask, **more):
            return input_ids

    odd = {
        "missing": [1, None, 3, 4],
        "deep": [[[1], [2, 3]]] * 4,
        "nested": [{"a": 1}] * 4,
    }
    train, _, notes = read(folder := saved(tmp_path, train=sentences(**odd)), Anything)
    assert train.inputs.keys() == {"input_ids", "attention_mask", "idx"}
    assert f"{folder}: column 'missing' left out: 1 of its values are missing" in notes
    assert f"{folder}: column 'deep' left out: lists of lists of unequal lengths" in notes
    assert any("column 'nested' left out" in note for note in notes)
    with pytest.raises(InputError, match="the targets 'missing': 1 of its values are missing"):
        read(f"{folder}?target=missing", Anything)


def damaged(folder, name):
    train = pathlib.Path(folder) / "train"
    if name == "arrow":
        train.joinpath("data-00000-of-00001.arrow").write_bytes(b"no table")
    elif name == "gone":
        train.joinpath("data-00000-of-00001.arrow").unlink()
    elif name == "state":
        train.joinpath("state.json").write_text("{")
    elif name == "elsewhere":
        train.joinpath("state.json").write_text(json.dumps({"_data_files": [{"filename": "../../x.arrow"}]}))
    elif name == "split":
        train.parent.joinpath("dataset_dict.json").write_text(json.dumps({"splits": ["../train"]}))
    elif name == "none":
        train.parent.joinpath("dataset_dict.json").write_text(json.dumps({"splits": []}))


@pytest.mark.parametrize("name", ["arrow", "gone", "state", "elsewhere", "split", "none"])
def test_a_damaged_folder_is_one_line(tmp_path, name):
    folder = saved(tmp_path)
    damaged(folder, name)
    with pytest.raises(InputError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_without_the_library_one_line_says_what_to_install(tmp_path, monkeypatch):
    folder = saved(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=re.escape("pip install 'connectivity-hooks[datasets]'")):
        read(folder)


def test_data_sets_themselves_are_read_likewise(tmp_path):
    whole = datasets.DatasetDict(train=sentences().select([3, 0, 1]), test=sentences())
    task = ch.make_task(model=Reads, data=whole)
    assert task.train.inputs["input_ids"].tolist() == [[9, 10, 0], [3, 4, 5], [6, 7, 0]]
    assert task.train.targets().tolist() == [0, 0, 1]


def test_a_transform_of_a_data_set_is_run(tmp_path):
    data = sentences()
    data.set_transform(lambda rows: {"input_ids": torch.ones(len(rows["idx"]), 2).long(), "labels": rows["label"]})
    task = ch.make_task(model=Reads, data=(data, data))
    assert task.train.inputs["input_ids"].tolist() == [[1, 1]] * 4
    assert task.train.targets().tolist() == [0, 1, 2, 0]
