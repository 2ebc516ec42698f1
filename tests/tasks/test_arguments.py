"""Batches whose arguments a model does not take, and labels that it needs: one line, and one rule."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks.arguments import misfit

X, Y = torch.zeros(4, 3), torch.arange(4) % 3


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor, mask: Tensor | None = None) -> Tensor:
        return left + right


class Anything(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args


class Named(nn.Module):
    def forward(self, ids: Tensor, *, mask: Tensor, **more: Any) -> Tensor:
        return ids


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Two(), (X, X)),
        (Two(), [X, X, None]),
        (Two(), {"left": X, "right": X}),
        (Two(), {"left": X, "right": X, "mask": X}),
        (Anything(), X),
        (Anything(), {"a": X}),
        (Named(), {"ids": X, "mask": X, "other": X}),
        (nn.Linear(3, 3), X),
    ],
)
def test_what_a_forward_takes_fits(model: nn.Module, inputs: Any) -> None:
    assert misfit(model, inputs) == ""


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (Two(), X, "the batch has 1 inputs, and Two.forward takes 'left', 'right', 'mask'"),
        (Two(), (X,) * 4, "the batch has 4 inputs, and Two.forward takes"),
        (Two(), {"left": X, "rigth": X}, "the batch has 'rigth', and Two.forward takes 'left', 'right', 'mask'"),
        (Two(), {"left": X}, "the batch lacks 'right', and Two.forward takes"),
        (Named(), {"ids": X}, "the batch lacks 'mask', and Named.forward takes 'ids', 'mask'"),
        (Named(), (X, X), "the batch has 2 inputs, and Named.forward takes"),
    ],
)
def test_what_it_does_not_take_is_named(model: nn.Module, inputs: Any, words: str) -> None:
    assert misfit(model, inputs).startswith(words)


CODE = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(6, 3)

    def forward(self, left, right):
        return self.a(left) + self.b(right)

class Teacher(nn.Module):
    "Cannot be run without labels, as decoders that make their inputs of them."
    def __init__(self, needs=True):
        super().__init__()
        self.needs, self.a, self.seen = needs, nn.Linear(4, 3), []

    def forward(self, left, labels=None):
        if labels is None and self.needs:
            raise ValueError("labels or decoder inputs")
        return {"loss": torch.zeros(()), "logits": self.a(left / 24) + (0 if labels is None else 10 * labels[:, None])}

class Wrong(Teacher):
    def forward(self, left, labels=None):
        raise ValueError("always")

X, Y = torch.arange(24.0).view(6, 4), torch.arange(6) % 3
def named(): return [{"left": X, "labels": Y}], [{"left": X, "labels": Y}]
"""


@pytest.fixture
def code(tmp_path: pathlib.Path) -> str:
    (tmp_path / "code.py").write_text(CODE)
    return f"{tmp_path}/code.py"


def test_labels_are_given_to_a_model_that_cannot_be_run_without(code: str) -> None:
    for needs, given in ((1, True), (0, False)):
        task = ch.make_task(model=f"{code}:Teacher?needs={needs}", data=f"{code}:named")
        for split in task.splits():
            inputs, targets = next(iter(split.batches(6)))
            assert ("labels" in inputs) == given
            outputs = task.forward(task.model(), inputs)
            assert bool((outputs.sum(1) > 40).any()) == given
            assert torch.equal(targets, torch.arange(6) % 3)
        assert any("'labels'" in note for note in task.notes) == given


def test_a_model_that_fails_with_labels_too_says_why_it_fails_without(code: str) -> None:
    with pytest.raises(InputError, match=r"do not fit the model .*: ValueError: always"):
        ch.make_task(model=f"{code}:Wrong", data=f"{code}:named")


@pytest.mark.parametrize("form", ["npz", "safetensors"])
@pytest.mark.parametrize("names", [("left", "right"), ("0", "1")])
def test_files_hold_several_inputs_by_name_or_in_order(
    code: str, tmp_path: pathlib.Path, form: str, names: tuple[str, str]
) -> None:
    arrays = {"y_train": Y.repeat(2)[:6], "y_test": Y[:2]}
    for split, rows in (("train", 6), ("test", 2)):
        for name, width in zip(names, (4, 6), strict=True):
            arrays[f"x_{split}.{name}"] = torch.arange(float(rows * width)).view(rows, width)
    file = tmp_path / f"d.{form}"
    if form == "npz":
        np.savez(file, **{name: array.numpy() for name, array in arrays.items()})
    else:
        save_file(arrays, file)
    task = ch.make_task(model=f"{code}:Two", data=str(file))
    inputs, targets = next(iter(task.train.batches(6)))
    left, right = inputs if names[0] == "0" else (inputs["left"], inputs["right"])
    assert torch.equal(left, arrays[f"x_train.{names[0]}"])
    assert torch.equal(right, arrays[f"x_train.{names[1]}"])
    assert torch.equal(targets, arrays["y_train"])
    assert task.test is not None
    assert len(task.test) == 2
    assert task.notes == ()
    assert task.describe()["output"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"x_train.rigth": (6, 6), "x_train.right": None},
            "the batch has 'rigth', and Two.forward takes 'left', 'right'",
        ),
        ({"x_train.right": (5, 6)}, r"d.safetensors: .* \(x_train.left: 6, x_train.right: 5, y_train: 6\)"),
        ({"x_train": (6, 4)}, "has x_train and x_train.left"),
        ({"y_train": None}, "has no array 'y_train'; did you mean"),
        ({"y_train": None, "extra": None}, "train: a batch has no targets, .*left, right"),
        ({"x_train.right": ()}, "x_train.right is a single number"),
    ],
)
def test_entries_of_a_file_that_do_not_fit_are_named(
    code: str, tmp_path: pathlib.Path, change: dict[str, Any], words: str
) -> None:
    shapes: dict[str, Any] = {"x_train.left": (6, 4), "x_train.right": (6, 6), "y_train": (6,), "y_trian": (6,)}
    if "extra" in change:
        shapes.pop("y_trian")
    shapes = {name: shape for name, shape in (shapes | change).items() if shape is not None}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "d.safetensors")
    with pytest.raises(InputError, match=words) as error:
        ch.make_task(model=f"{code}:Two", data=f"{tmp_path}/d.safetensors", loss="mse")
    assert "\n" not in str(error.value)


def test_a_file_of_inputs_alone_is_an_autoencoders(tmp_path: pathlib.Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(4, 4)\n")
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, x_test=x[:2])
    task = ch.make_task(model=f"{tmp_path}/net.py:make", data=f"{tmp_path}/d.npz", loss="mse", normalize="1,2")
    assert torch.equal(task.train.targets(), torch.from_numpy((x - 1) / 2))
    assert task.test is not None
    assert len(task.test) == 2


@pytest.mark.parametrize(("dtype", "name"), [(torch.bool, "bool"), (torch.int64, "int64"), (torch.int16, "int16")])
def test_whole_numbers_that_a_model_cannot_compute_with_are_named(dtype: torch.dtype, name: str) -> None:
    with pytest.raises(InputError, match=rf"\(they are of type {name}: store as float32"):
        ch.make_task(model=lambda: nn.Linear(3, 3), data=[((X > 0).to(dtype), Y)])


class OfADict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, batch: Any) -> Tensor:
        return self.layer(batch["x"])


def test_a_model_of_one_dict_is_told_how_to_be_given_it_and_that_works() -> None:
    for given in ({"x": X, "labels": Y}, ({"x": X}, Y)):
        with pytest.raises(
            InputError, match=r"OfADict.forward takes 'batch'; if that is to be a dict, give \{'batch':"
        ):
            ch.make_task(model=OfADict, data=[given])
    for given in ({"batch": {"x": X}, "labels": Y}, ({"batch": {"x": X}}, Y)):
        task = ch.make_task(model=OfADict, data=[given])
        model = task.model()
        assert torch.equal(task.forward(model, next(iter(task.train.batches(4)))[0]), model({"x": X}))
