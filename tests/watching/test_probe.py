import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from watched_training import data, network

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.watching.probe import read_probe

X, Y = data()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


PROBES = {
    "pair": (X, Y),
    "list": [X, Y],
    "split": CachedSplit("train", X, Y),
    "task": Task(network, CachedSplit("train", X, Y)),
    "data set": TensorDataset(X, Y),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=50, shuffle=True),
    "stream": DataLoader(Stream(), batch_size=50),
    "batches": list(zip(X.split(50), Y.split(50), strict=True)),
    "generator": lambda: zip(X.split(50), Y.split(50), strict=True),
    "labels": [{"x": X, "labels": Y}],
    "one batch": {"x": X, "labels": Y},
}


def rows(split, size=1000):
    batches = list(split.batches(size))
    inputs = [x["x"] if isinstance(x, dict) else x for x, _ in batches]
    return torch.cat(inputs), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("kind", PROBES)
def test_every_form_gives_pairs_that_belong_together(kind):
    probe = PROBES[kind]() if callable(PROBES[kind]) else PROBES[kind]
    split = read_probe(probe, 70, seed=0)
    inputs, targets = rows(split)
    assert len(split) == len(inputs) == 70
    assert torch.equal(targets, split.targets())
    index = [int((each == X).all(1).nonzero()) for each in inputs]
    assert torch.equal(targets, Y[index])
    assert len(set(index)) == 70


@pytest.mark.parametrize("kind", ["pair", "split", "task", "data set", "loader"])
def test_what_has_a_length_is_sampled_and_not_cut(kind):
    inputs, _ = rows(read_probe(PROBES[kind], 30, seed=0))
    index = [int((each == X).all(1).nonzero()) for each in inputs]
    assert max(index) > 60
    assert torch.equal(rows(read_probe(PROBES[kind], 30, seed=0))[0], inputs)
    assert not torch.equal(rows(read_probe(PROBES[kind], 30, seed=1))[0], inputs)


def test_batches_are_cut_to_the_size_asked_for_and_head_and_sample_choose_rows():
    split = read_probe(PROBES["batches"], 120, seed=0)
    assert [len(y) for _, y in split.batches(32)] == [32, 18, 32, 18, 20]
    assert torch.equal(rows(split.head(60))[0], X[:60])
    chosen, labels = rows(split.sample(11, seed=3))
    index = [int((each == X).all(1).nonzero()) for each in chosen]
    assert index == sorted(index)
    assert torch.equal(labels, Y[index])


def test_inputs_of_several_tensors_are_cut_and_placed_together():
    batches = [(({"a": X[:9], "b": X[:9, 0]}, X[:9]), Y[:9])]
    split = read_probe(batches, 7, seed=0).at(torch.device("cpu"), torch.float64)
    (named, third), targets = next(split.batches(4))
    assert named["a"].dtype == torch.float64
    assert len(named["a"]) == len(named["b"]) == len(third) == len(targets) == 4


@pytest.mark.parametrize(
    "probe", [X, [X], TensorDataset(X), [(X, None)], {"x": X}], ids=["tensor", "batch", "data set", "none", "named"]
)
def test_data_without_targets_is_its_own(probe):
    inputs, targets = rows(read_probe(probe, 1000, seed=0))
    assert torch.equal(inputs, targets)
    assert torch.equal(inputs, X)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (["x"], "a batch is a str, expected .inputs, targets., or a dict with 'labels'"),
        ([(X[:3], Y[:4])], "4 targets and inputs of other rows .inputs: 3."),
        ([({"x": X[:3], "z": X[:4]}, Y[:3])], "3 targets and inputs of other rows .x: 3, z: 4."),
        ([({"x": X[:3], "z": X[:3]}, None)], "no targets, and its inputs are not one tensor .* .x, z."),
        ([{"x": X[:3], "label": Y[:3]}], "no targets, .* .x, label.; expected .* a dict with 'labels'"),
        ([{"x": X[:3], "labels": ["a", "b", "c"]}], "'labels' is a list, expected a tensor"),
        ([], "has no samples"),
        ([(X[:0], Y[:0])], "has no samples"),
        (iter(()), "gone through before"),
    ],
)
def test_what_gives_no_pairs_is_refused(probe, message):
    with pytest.raises(InputError, match=f"probe: .*{message}"):
        read_probe(probe, 10, seed=0)


def test_what_is_no_data_is_refused():
    with pytest.raises(UsageError, match=r"expected a Task, .* found int"):
        read_probe(3, 10, seed=0)
