"""``?train=N&test=N`` on every form of data: a seeded draw, and no more is decoded than is kept."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.data.loading import Placement, load_data
from connectivity_hooks.tasks.split import draw

HERE = Placement(torch.device("cpu"), torch.float32, 1 << 30)
SMALL = Placement(torch.device("cpu"), torch.float32, 10)

LOADERS = """
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
X, Y = torch.arange(20.0)[:, None], torch.arange(20)

def pair(): return TensorDataset(X, Y), DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True)
def batches(): return [(X[i:i + 6], Y[i:i + 6]) for i in range(0, 20, 6)], [(X, Y)]
def own(train, seed=5): return [(X[:train], Y[:train] + seed)], [(X, Y)]
def anything(**given): return [(X[:given["train"]], Y[:given["train"]])], [(X, Y)]
def alone(): return [(X, Y)]

class Counted(Dataset):
    seen = []
    def __len__(self): return 20
    def __getitem__(self, i):
        Counted.seen.append(i)
        return X[i], Y[i]
def counted(): return Counted(), None

class Stream(IterableDataset):
    def __iter__(self): return iter([(X[i], Y[i]) for i in range(20)])
def stream(): return DataLoader(Stream(), batch_size=7), None
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "loaders.py").write_text(LOADERS)
    return f"{tmp_path}/loaders.py"


def read(spec, placement=HERE):
    notes = []
    return *load_data(spec, placement, say=notes.append), notes


def expected(size, count, seed=0):
    return draw(size, count, seed)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_files_of_arrays_are_drawn_with_a_seed_in_their_order(tmp_path, form):
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20)
    file = tmp_path / f"d.{form}"
    held = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    np.savez(file, **held) if form == "npz" else save_file(held, file)
    train, test, notes = read(f"{file}?train=6&test=4&seed=3")
    assert torch.equal(train.targets(), expected(20, 6, 3))
    assert torch.equal(test.targets(), expected(20, 4, 3))
    assert torch.equal(train.inputs, torch.from_numpy(x)[train.targets()])
    assert notes[:2] == [
        f"{file}: train: 6 of 20 samples are taken, drawn with seed 3",
        f"{file}: test: 4 of 20 samples are taken, drawn with seed 3",
    ]
    assert not torch.equal(read(f"{file}?train=6&seed=4")[0].targets(), train.targets())


def test_digits_are_drawn_and_not_the_first_ones():
    train, test, _ = read("digits?train=100")
    assert (len(train), len(test)) == (100, 364)
    whole = read("digits")[0]
    assert torch.equal(train.inputs, whole.sample(100, 0).inputs)
    assert not torch.equal(train.inputs, whole.head(100).inputs)


def test_of_a_folder_of_images_only_those_that_are_taken_are_opened(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(5):
                Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).save(
                    tmp_path / split / name / f"{number}.png"
                )
    kept = expected(10, 4).tolist()
    whole, _, _ = read(str(tmp_path))
    for row in set(range(10)) - set(kept):
        (tmp_path / "train" / "ab"[row // 5] / f"{row % 5}.png").write_bytes(b"no image")
    train, _, notes = read(f"{tmp_path}?train=4")
    assert torch.equal(train.inputs, whole.inputs[kept])
    assert train.targets().tolist() == [row // 5 for row in kept]
    assert notes == [f"{tmp_path}: train: 4 of 10 samples are taken, drawn with seed 0"]
    with pytest.raises(InputError, match=r"is not an image"):
        read(f"{tmp_path}?train=9")


@pytest.mark.parametrize("name", ["pair", "batches"])
@pytest.mark.parametrize("placement", [HERE, SMALL])
def test_loaders_are_drawn_too_in_memory_or_not(code, name, placement):
    train, test, notes = read(f"{code}:{name}?train=6&test=4", placement)
    assert torch.equal(train.targets(), expected(20, 6))
    assert torch.equal(test.targets(), expected(20, 4))
    passed = torch.cat([inputs for inputs, _ in train.batches(3)])[:, 0].long()
    assert torch.equal(passed, expected(20, 6))
    assert notes == [
        f"{code}:{name}: train: 6 of 20 samples are taken, drawn with seed 0",
        f"{code}:{name}: test: 4 of 20 samples are taken, drawn with seed 0",
    ]


def test_a_stream_without_numbers_is_counted_first(code):
    train, _, _ = read(f"{code}:stream?train=6")
    assert torch.equal(train.targets(), expected(20, 6))


def test_of_a_data_set_no_other_samples_are_asked_for(code):
    read(f"{code}:counted?train=3")
    from connectivity_hooks.tasks.references import loaded

    assert set(loaded(f"{code}:counted").Counted.seen) == set(expected(20, 3).tolist())


def test_what_a_callable_takes_by_its_name_is_its_own(code):
    train, _, notes = read(f"{code}:own?train=6")
    assert train.targets().tolist() == [5, 6, 7, 8, 9, 10]
    assert notes == []
    train, test, notes = read(f"{code}:own?train=6&seed=0&test=4")
    assert train.targets().tolist() == [0, 1, 2, 3, 4, 5]
    assert (len(test), len(notes)) == (4, 1)
    assert read(f"{code}:anything?train=6")[0].targets().tolist() == [0, 1, 2, 3, 4, 5]


def test_more_than_there_are_is_all_and_said(code):
    train, _, notes = read(f"{code}:pair?train=21")
    assert len(train) == 20
    assert notes == [f"{code}:pair: train: has 20 samples, not more than the 21 asked for; all are taken"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("train=0", "train is 0; expected a whole number from 1 on"),
        ("train=1.5", "train is 1.5; expected a whole number"),
        ("train=True", "train is True"),
        ("train=many", "train is 'many'"),
        ("test=-1", "test is -1"),
        ("seed=-1", "seed is -1; expected a whole number from 0 on"),
        ("trian=5", "no option 'trian'; did you mean 'train'?"),
        ("train", "expected ?argument=value"),
    ],
)
def test_options_that_are_none_are_wrong_usage(query, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        read(f"digits?{query}")


@pytest.mark.parametrize("name", ["alone"])
def test_a_number_of_test_samples_without_any_is_wrong_usage(code, tmp_path, name):
    np.savez(tmp_path / "d.npz", x_train=np.zeros((4, 2), np.float32), y_train=np.arange(4))
    for spec in (f"{tmp_path}/d.npz?test=2", f"{code}:{name}?test=2"):
        with pytest.raises(UsageError, match="there is no test split"):
            read(spec)


def test_a_file_with_a_question_mark_in_its_name_is_that_file(tmp_path):
    np.savez(tmp_path / "d?train=2.npz", x_train=np.zeros((4, 2), np.float32), y_train=np.arange(4))
    assert len(read(f"{tmp_path}/d?train=2.npz")[0]) == 4


def test_the_task_says_what_was_drawn(code, tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\ndef net(): return nn.Linear(1, 20)\n")
    task = ch.make_task(model=f"{tmp_path}/net.py:net", data=f"{code}:pair?train=6&test=4")
    assert task.describe()["samples"] == {"train": 6, "test": 4}
    assert f"{code}:pair: train: 6 of 20 samples are taken, drawn with seed 0" in task.notes
