"""Inputs of several tensors, cut, joined and moved together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.inputs import concatenated, mapped, named_tensors, placed, rows_of, shapes_of, taken

X, IDS = torch.arange(8.0).view(4, 2), torch.arange(12).view(4, 3)
NESTED: dict[str, Any] = {"x": X, "more": (IDS, [X, None]), "flag": True}


def test_rows_are_taken_of_every_tensor_and_nothing_else() -> None:
    for rows in (slice(1, 3), torch.tensor([3, 1])):
        found = taken(NESTED, rows)
        assert torch.equal(found["x"], X[rows])
        assert torch.equal(found["more"][0], IDS[rows])
        assert torch.equal(found["more"][1][0], X[rows])
        assert found["more"][1][1] is None
        assert found["flag"] is True


def test_only_floats_change_their_type() -> None:
    found = dict(named_tensors(placed(NESTED, dtype=torch.float64)))
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        "x": torch.float64,
        "more.0": torch.int64,
        "more.1.0": torch.float64,
    }


def test_parts_joined_are_the_whole() -> None:
    whole = concatenated([taken(NESTED, slice(3)), taken(NESTED, slice(3, 4))])
    for (name, found), (expected_name, expected) in zip(named_tensors(whole), named_tensors(NESTED), strict=True):
        assert name == expected_name
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([X, X[:, :1]], r"shapes \(1,\), \(2,\); expected one"),
        ([{"a": X}, {"b": X}], "unequal entries: a and b; expected the same"),
        ([{"a": X}, X], "unequal entries: a and a Tensor"),
        ([X, {"a": X}], "unequal entries: a Tensor and a; expected the same"),
        ([(X, X), (X,)], "unequal numbers of arguments"),
    ],
)
def test_batches_that_are_unequal_cannot_be_joined(parts: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        concatenated(parts)


def test_one_number_of_rows() -> None:
    assert rows_of(NESTED) == 4
    for inputs, words in (({"x": X, "ids": IDS[:2]}, "x: 4, ids: 2"), (torch.tensor(1.0), "None"), ((), "no tensor")):
        with pytest.raises(InputError, match=words):
            rows_of(inputs)


def test_names_and_shapes_for_messages() -> None:
    assert shapes_of(X) == "(2,)"
    assert shapes_of(NESTED) == "x (2,), more.0 (3,), more.1.0 (2,)"


def test_mapped_keeps_the_form() -> None:
    found = mapped(lambda tensor: tensor + 1, NESTED)
    assert isinstance(found["x"], Tensor)
    assert isinstance(found["more"], tuple)
    assert torch.equal(found["more"][1][0], X + 1)
