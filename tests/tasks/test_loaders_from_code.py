"""Loaders, data sets, splits and model classes handed to `make_task` themselves, and data without targets."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import CachedSplit
from connectivity_hooks.tasks.data.loading import Placement, load_data
from connectivity_hooks.tasks.streamed import StreamedSplit

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
TRAIN, TEST = TensorDataset(X, Y), TensorDataset(X[:10], Y[:10])


class Net(nn.Sequential):
    def __init__(self, outputs: int = 3) -> None:
        super().__init__(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, outputs))


@pytest.mark.parametrize(
    "data",
    [
        (DataLoader(TRAIN, 16), DataLoader(TEST, 16)),
        [DataLoader(TRAIN, 16, shuffle=True), DataLoader(TEST, 16)],
        {"train": DataLoader(TRAIN, 16), "test": [(X[:10], Y[:10])]},
        (TRAIN, TEST),
        (CachedSplit("train", X, Y), CachedSplit("test", X[:10], Y[:10])),
        lambda: (DataLoader(TRAIN, 16), TEST),
    ],
    ids=["loaders", "list", "dict", "data sets", "splits", "function"],
)
def test_what_a_file_may_return_may_be_given_itself(data: Any) -> None:
    task = ch.make_task(model=Net, data=data)
    assert torch.equal(task.train.targets(), Y)
    assert task.test is not None
    assert torch.equal(next(iter(task.test.batches(10)))[0], X[:10])
    assert (task.model_name, task.data_name) == ("", "")


@pytest.mark.parametrize("data", [DataLoader(TRAIN, 16), TRAIN, CachedSplit("train", X, Y), [(X, Y)]])
def test_one_alone_is_the_training_split(data: Any) -> None:
    task = ch.make_task(model=lambda: Net(), data=data)
    assert (len(task.train), task.test) == (40, None)


def test_a_pair_of_checkpoints_is_connected_with_loaders_from_code(tmp_path: pathlib.Path) -> None:
    nets = [Net(), Net()]
    for net, name in zip(nets, "ab", strict=True):
        ch.save(net, tmp_path / f"{name}.safetensors")
    task = ch.make_task(model=Net, data=(DataLoader(TRAIN, 16), DataLoader(TEST, 16)))
    path = ch.connect(tmp_path / "a.safetensors", tmp_path / "b.safetensors", task)
    measured = ch.evaluate(path, task, points=2, refine=0).curves["train"]
    expected = [F.cross_entropy(net(X), Y).item() for net in nets]
    assert [measured[0].loss, measured[-1].loss] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (3, "data: gives a int; expected a loader"),
        (None, r"data: gives no training loader; expected \(train, test\)"),
        ((X, Y), r"data: gives a Tensor as a loader; one batch is \[\(inputs, targets\)\]"),
        ((TRAIN, TRAIN, TEST), "data: returns 3 things"),
        (((batch for batch in [(X, Y)]), None), "data: gives a generator; expected a loader that can be iterated"),
        (lambda: 1 / 0, "data: its function fails: ZeroDivisionError"),
    ],
)
def test_what_is_no_loader_is_one_line(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"^{words}"):
        ch.make_task(model=Net, data=data)


@pytest.mark.parametrize("model", [Net(), 3, None])
def test_what_makes_no_model_is_one_line(model: Any) -> None:
    with pytest.raises(UsageError, match=r"^model: a \w+ makes no model; expected a name, or a function or class"):
        ch.make_task(model=model, data=TRAIN)


def test_a_class_that_makes_no_model_is_named() -> None:
    with pytest.raises(InputError, match=r"^model dict: makes a dict, expected an nn.Module"):
        ch.make_task(model=dict, data=TRAIN)


@pytest.mark.parametrize(
    "batches", [[(X[:20], X[20:]), (X[20:],)], [{"input": X[:20], "labels": X[20:]}, {"input": X}]]
)
def test_a_later_batch_without_targets_is_not_given_its_own_inputs(batches: Any) -> None:
    with pytest.raises(InputError, match=r"^data: batch 2 has no targets, batch 1 has;"):
        ch.make_task(model=lambda: Net(6), data=batches, loss="mse")
    with pytest.raises(InputError, match=r"^probe: batch 2 has no targets, batch 1 has;"):
        ch.watch(Net(6), probe=batches, log=None)


def test_a_stream_is_read_by_one_rule_too() -> None:
    nothing_held = Placement(torch.device("cpu"), torch.float32, 1)
    batches = [(X[:20], X[20:]), (X[:20], X[20:]), (X[20:],)]
    with pytest.raises(InputError, match=r"^data: batch 3 has no targets, batch 1 has;"):
        load_data((batches, None), nothing_held)
    said: list[str] = []
    train, _ = load_data(([(X[:20],), (X[20:],)], None), nothing_held, say=said.append)
    assert isinstance(train, StreamedSplit)
    assert torch.equal(train.targets(), X)
    assert any("taken for their own" in note for note in said)


def test_a_test_loader_has_targets_where_the_training_loader_has() -> None:
    with pytest.raises(InputError, match=r"the test loader has no targets, the training loader has"):
        ch.make_task(model=lambda: Net(6), data=([(X, X)], [(X,)]), loss="mse")


def test_data_without_targets_is_said_to_be_its_own(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, x_train=X.numpy())
    for data, name in ([(X,)], "data"), (file, str(file)):
        task = ch.make_task(model=lambda: Net(6), data=data, loss="mse")
        said = f"{name}: no targets are given, so the inputs are taken for their own, as an autoencoder's"
        assert task.notes == (said,)
        with pytest.raises(InputError, match=r"train \(no targets are given, .* targets are \(40, 6\); loss cross"):
            ch.make_task(model=lambda: Net(3), data=data)
    assert ch.make_task(model=Net, data=TRAIN).notes == ()


@pytest.mark.parametrize("layout", ["gray", "channels-last"])
def test_a_layout_that_does_nothing_is_said(layout: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "flat.npz"
    np.savez(file, x_train=X.numpy(), y_train=Y.numpy())
    for data, name in (TRAIN, "data"), (file, str(file)):
        (note,) = ch.make_task(model=Net, data=data, layout=layout).notes
        assert note.startswith(f"{name}: --layout {layout} does nothing to these inputs: (N, ")
    maps = [(torch.arange(40 * 27.0).view(40, 3, 3, 3), Y)]  # which keep their shape, and not their order

    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(27, 3))

    assert any("does nothing" in note for note in ch.make_task(model=make, data=maps, layout=layout).notes) == (
        layout == "gray"
    )


def test_a_layout_for_a_layer_that_is_not_there_is_refused_before_a_training() -> None:
    with pytest.raises(UsageError, match="layout nope=NC: no layer 'nope' in Net"):
        ch.watch(Net(), probe=TRAIN, axes="nope=NC", log=None)
