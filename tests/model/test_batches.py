"""One reader of batches."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import BatchReader, read_batch, with_labels
from connectivity_hooks.model.inputs import concatenated, mapped, named_tensors, rows_of

X, Z, Y = torch.zeros(4, 2), torch.ones(4, 3, 5), torch.arange(4)


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [X, Y],
        ((X, Z), Y),
        ([X, {"z": Z, "flag": True}], Y),
        ({"x": X, "none": None}, Y),
        ({"x": X, "labels": X}, Y),
    ],
)
def test_a_pair_is_inputs_and_targets_as_they_are(batch: Any) -> None:
    inputs, targets = read_batch(batch, "data")
    assert inputs is batch[0] or inputs == batch[0]
    assert targets is Y


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, collections.UserDict])
def test_labels_of_a_mapping_are_the_targets_and_no_input(kind: type) -> None:
    inputs, targets = read_batch(kind({"x": X, "deep": (X, Z), "labels": Y}), "data")
    assert inputs.keys() == {"x", "deep"}
    assert targets is Y


@pytest.mark.parametrize("batch", [X, (X,), [X], (X, None), ({"x": X}, None), {"x": X}, ((X, True), None)])
def test_one_tensor_without_targets_is_its_own(batch: Any) -> None:
    assert read_batch(batch, "data")[1] is X


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (None, r"a batch is a NoneType, expected \(inputs, targets\), or a dict with 'labels'"),
        ("text", "a batch is a str"),
        ((X, Z, Y), "3 entries and is not a pair.* several inputs are .*first, second.*, targets"),
        ((X, [0, 1, 2, 3]), "targets are a list, expected a tensor"),
        ((X, {"boxes": X}), "targets are a dict"),
        (
            ([X, X], [{"boxes": X}, {"boxes": X[:1]}]),
            "a list of dicts .*, as a detector's: .* is not measured",
        ),
        ([(X[0], {"boxes": X}), (X[0], {"boxes": X})], "a tuple of dicts .*, as a detector's"),
        ({"x": X, "labels": 3}, "'labels' is a int"),
        ({"x": X, "z": Z}, r"no targets, and its inputs are not one tensor .*\(x, z\)"),
        (((X, Z), None), r"no targets, .*\(0, 1\)"),
        ({"labels": Y}, "inputs are a dict without any entry but 'labels'"),
        ((["a", "b", "c", "d"], Y), "inputs are a list of str; expected a tensor"),
        (((X, ["a", "b", "c", "d"]), Y), "1 is a list of str, one for each sample"),
        (({"text": ["a", "b", "c", "d"]}, Y), "inputs are a dict of 'text': a list"),
        ((None, Y), "inputs are a NoneType"),
        ((((None, None)), Y), "inputs are a tuple of NoneType"),
        ((X[:3], Y), r"4 targets and inputs of other rows \(inputs: 3\)"),
        (({"x": X, "deep": (Z[:1],)}, Y), r"\(x: 4, deep.0: 1\)"),
        (({"x": X, "t": torch.tensor(2.0)}, Y), "t: a single number"),
        ((X, torch.tensor(1)), "a single number as targets"),
        ({"x": X, "text": ["a", "b", "c", "d"], "labels": Y}, "'text' is a list of str, one for each sample"),
        ((X.to_sparse(), Y), "a batch has a sparse tensor"),
        (({"x": X, "z": Z.to(torch.complex64)}, Y), "a batch has a complex tensor"),
    ],
)
def test_what_is_no_batch_is_one_line(batch: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"^data: .*{words}") as error:
        read_batch(batch, "data")
    assert "\n" not in str(error.value)


def test_labels_for_the_model_are_a_copy_of_the_targets() -> None:
    inputs, targets = with_labels(({"x": X}, Y.clone()))
    inputs["labels"].zero_()
    assert torch.equal(targets, Y)


FORMS = {"pair": (X, Y), "labels": {"x": X, "labels": Y}, "alone": (X,), "unlabelled": {"x": X}, "none": (X, None)}


@pytest.mark.parametrize(
    ("first", "later", "words"),
    [
        ("pair", "alone", r"batch 3 has no targets, batch 1 has"),
        ("pair", "none", r"batch 3 has no targets, batch 1 has"),
        ("labels", "unlabelled", r"batch 3 has no targets, batch 1 has"),
        ("alone", "pair", r"batch 3 is a pair \(inputs, targets\), batch 1 has no targets"),
        ("unlabelled", "labels", r"batch 3 is a dict with 'labels', batch 1 has no targets"),
        ("pair", "labels", r"batch 3 is a dict with 'labels', batch 1 is a pair"),
    ],
)
def test_the_first_batch_of_a_loader_decides_for_all(first: str, later: str, words: str) -> None:
    reader = BatchReader("data")
    for number in range(2):
        reader.read(FORMS[first], number)
    with pytest.raises(InputError, match=f"^data: {words}.*; expected one form of all$"):
        reader.read(FORMS[later], 2)
    assert reader.its_own == (first in ("alone", "unlabelled"))


def deep(levels: int) -> Any:
    inputs: Any = X
    for _ in range(levels):
        inputs = [inputs]
    return inputs


def self_referring() -> Any:
    inputs: Any = {"x": X}
    inputs["again"] = inputs
    return inputs


@pytest.mark.parametrize("inputs", [deep(3000), deep(100), self_referring()], ids=["3000", "100", "itself"])
def test_inputs_nested_without_end_are_one_line(inputs: Any) -> None:
    with pytest.raises(InputError, match=r"^data: in a batch, inputs are nested more than 64 deep, or hold themselves"):
        read_batch((inputs, Y), "data")
    for function in (lambda each: mapped(torch.clone, each), lambda each: concatenated([each, each]), rows_of):
        with pytest.raises(InputError, match="nested more than 64 deep"):
            function(inputs)


def test_inputs_a_few_levels_deep_are_read() -> None:
    assert read_batch((deep(20), Y), "data")[1] is Y
    assert torch.equal(next(iter(named_tensors(concatenated([deep(20), deep(20)]))))[1], torch.cat([X, X]))
