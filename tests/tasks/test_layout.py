"""Where arrays have their channels: as the model takes them, as asked for, and always said."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError

MODELS = """
import torch
from torch import nn

def conv(channels): return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                         nn.Linear(4, 3))
def flat(width): return nn.Sequential(nn.Flatten(), nn.Linear(width, 3))
def series(): return nn.Sequential(nn.Conv1d(5, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])

class Bytes(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(256, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.embed(x.int()).flatten(1, -2).mean(1))

def loaders(floats, *shape):
    x = torch.rand(6, 8, 8, 3) if floats else torch.zeros(6, 8, 8, 3, dtype=torch.uint8)
    return [(x, torch.arange(6) % 3)]

def rows(): return [(torch.rand(6, 5, 8), torch.arange(6) % 3)]
"""


@pytest.fixture
def made(tmp_path: pathlib.Path) -> Any:
    (tmp_path / "net.py").write_text(MODELS)

    def made(model: str, shape: tuple[int, ...] = (8, 8, 3), dtype: Any = np.float32, **options: Any) -> ch.Task:
        x = np.random.default_rng(0).integers(0, 255, (6, *shape)).astype(dtype)
        np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(6) % 3, x_test=x[:3], y_test=np.arange(3))
        data = options.pop("data", None)
        data = f"{tmp_path}/net.py:{data}" if data else str(tmp_path / "d.npz")
        return ch.make_task(model=f"{tmp_path}/net.py:{model}", data=data, **options)

    return made


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize(
    ("model", "stored", "read"),
    [
        ("conv?channels=3", (8, 8, 3), (3, 8, 8)),
        ("flat?width=192", (8, 8, 3), (8, 8, 3)),
        ("conv?channels=1", (8, 8), (1, 8, 8)),
        ("series", (5, 8), (5, 8)),
        ("Recurrent", (5, 8), (5, 8)),
        ("conv?channels=5", (5, 8, 8), (5, 8, 8)),
    ],
)
def test_arrays_are_read_as_the_model_takes_them(made: Any, dtype: Any, model: str, stored: Any, read: Any) -> None:
    task = made(model, stored, dtype)
    for split in task.splits():
        inputs, _ = next(split.batches(6))
        assert inputs.shape[1:] == read
    said = [note for note in task.notes if f"{stored} are read as" in note]
    assert len(said) == (read != stored or stored == (8, 8, 3))
    assert all(f"read as {read}" in note or "as they are stored" in note for note in said)
    assert all(("bytes scaled to [0, 1]" in note) == (dtype == np.uint8) for note in said if read != stored)


def test_values_go_with_their_axes(made: Any) -> None:
    moved, kept = (made("conv?channels=3").train.inputs, made("flat?width=192").train.inputs)
    assert torch.equal(moved, kept.permute(0, 3, 1, 2))
    bytes_ = made("conv?channels=3", dtype=np.uint8).train.inputs
    assert torch.allclose(bytes_, moved / 255)


def test_gray_bytes_have_one_channel_whatever_takes_them(made: Any) -> None:
    assert made("flat?width=64", (8, 8), np.uint8).train.inputs.shape[1:] == (1, 8, 8)
    assert made("flat?width=64", (8, 8), np.float32).train.inputs.shape[1:] == (8, 8)


@pytest.mark.parametrize(
    ("layout", "stored", "read"),
    [
        ("channels-last", (8, 8, 3), (3, 8, 8)),
        ("channels-last", (8, 8), (8, 8)),
        ("channels-first", (8, 8, 3), (8, 8, 3)),
        ("as-is", (8, 8, 3), (8, 8, 3)),
        ("gray", (8, 8), (1, 8, 8)),
        ("gray", (8, 8, 3), (8, 8, 3)),
    ],
)
def test_a_layout_that_is_asked_for_is_taken(made: Any, layout: str, stored: Any, read: Any) -> None:
    task = made(f"flat?width={np.prod(stored)}", stored, layout=layout)
    assert task.train.inputs.shape[1:] == read
    if layout == "channels-last":
        first = torch.from_numpy(np.load(task.data_name)["x_train"])
        assert torch.equal(task.train.inputs, first.movedim(-1, 1))


def test_bytes_as_they_are(made: Any) -> None:
    task = made("Bytes", (8, 8), np.uint8, layout="as-is")
    assert task.train.inputs.dtype == torch.uint8
    assert task.notes == ()


def test_what_a_loader_gives_is_left_alone(made: Any) -> None:
    assert made("flat?width=192", data="loaders?floats=1").train.inputs.shape[1:] == (8, 8, 3)
    assert made("Recurrent", data="rows").train.inputs.shape[1:] == (5, 8)
    task = made("flat?width=192", data="loaders?floats=0")
    assert task.train.inputs.shape[1:] == (8, 8, 3)
    assert ["scaled" in note for note in task.notes] == [True]
    assert made("conv?channels=3", data="loaders?floats=1", layout="channels-last").train.inputs.shape[1:] == (3, 8, 8)
    with pytest.raises(InputError, match="do not fit the model"):
        made("conv?channels=3", data="loaders?floats=1")


def test_an_array_that_fits_in_no_layout_says_what_it_is(made: Any) -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(8, 8, 3\) do not fit the model .*--layout"):
        made("conv?channels=2")


def test_an_unknown_layout_is_wrong_usage(made: Any) -> None:
    with pytest.raises(UsageError, match="--layout channels_last: did you mean 'channels-last'"):
        made("conv?channels=3", layout="channels_last")


def test_a_module_that_failed_in_a_trial_is_not_used_again(made: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "counting.py").write_text(
        "from torch import nn\n"
        "class make(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.passes, self.conv, self.head = [], nn.Conv2d(1, 3, 8), nn.Flatten()\n"
        "    def forward(self, x):\n"
        "        self.passes.append(tuple(x.shape))\n"
        "        return self.head(self.conv(x))\n"
    )
    np.savez(tmp_path / "e.npz", x_train=np.zeros((6, 8, 8), np.float32), y_train=np.arange(6) % 3)
    task = ch.make_task(model=f"{tmp_path}/counting.py:make", data=f"{tmp_path}/e.npz")
    assert set(task.structure().passes) == {(2, 1, 8, 8)}
