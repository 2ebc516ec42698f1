"""Soups: float64 means, what is not averaged, corrections, folders; and the set a mean is taken of."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from soups import files, train, write_all
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import ConnectivityError, InputError
from connectivity_hooks_averaging.soups.average import average
from connectivity_hooks_averaging.soups.cliques import mutually_connected
from connectivity_hooks_averaging.soups.soup import Soup

FAST = {"points": 3, "refine": 0, "threshold": 10.0}


def test_a_soup_is_summed_in_float64():
    generator = torch.Generator().manual_seed(0)
    weights = [{"w": torch.randn(50, generator=generator) * 10.0**k} for k in (0, 4, -4)]
    soup = Soup()
    for number, each in enumerate(weights):
        soup.add(str(number), each, number + 1.0)
    expected = sum((k + 1) * each["w"].double() for k, each in enumerate(weights)) / 6
    assert torch.equal(soup.mean()["w"], expected.float())


def test_what_is_the_same_in_all_stays_bit_for_bit():
    mask = torch.tensor([0.0, -torch.inf, 0.1])
    soup = Soup()
    for name in "abc":
        soup.add(name, {"mask": mask.clone(), "w": torch.rand(3)})
    assert torch.equal(soup.mean()["mask"], mask)


def test_whole_numbers_have_to_be_the_same_but_for_counters():
    soup = Soup({"n"})
    soup.add("a", {"n": torch.tensor(3), "index": torch.tensor([1, 2]), "on": torch.tensor([True])})
    soup.add("b", {"n": torch.tensor(5), "index": torch.tensor([1, 2]), "on": torch.tensor([True])})
    assert (soup.mean()["n"].item(), soup.kept_counters) == (3, {"n"})
    with pytest.raises(InputError, match=r"c: index \(int64\) differs from that of a"):
        soup.add("c", {"n": torch.tensor(3), "index": torch.tensor([1, 3]), "on": torch.tensor([True])})
    with pytest.raises(InputError, match=r"on \(bool\)"):
        soup.add("c", {"n": torch.tensor(3), "index": torch.tensor([1, 2]), "on": torch.tensor([False])})


def test_joining_leaves_the_soup_before_as_it_was():
    first = Soup()
    first.add("a", {"w": torch.tensor([1.0])})
    first = first.joined_by("b", {"w": torch.tensor([3.0])})
    second = first.joined_by("c", {"w": torch.tensor([8.0])})
    assert (first.mean()["w"].item(), second.mean()["w"].item()) == (2.0, 4.0)
    assert (first.members, second.members) == (("a", "b"), ("a", "b", "c"))


def test_the_largest_set_need_not_hold_the_first():
    barriers = [[0, 9, 9, 9], [9, 0, 0, 1], [9, 0, 0, 1], [9, 1, 1, 0]]
    assert mutually_connected(barriers, 1) == [1, 2, 3]
    assert mutually_connected(barriers, 0) == [1, 2]
    barriers[0][1] = barriers[1][0] = float("nan")
    assert mutually_connected(barriers, 1) == [1, 2, 3]


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normed")
    return folder, write_all(folder, "normed")


def test_batch_norm_without_correction_is_said_and_with_one_measured_anew(normed):
    folder, task = normed
    given = files(folder, "c1", "c2", "c3")
    plain = average(given, task, **FAST)
    assert "The networks have batch norm" in plain.verdict
    assert "--correct batch-norm" in plain.verdict
    corrected = average(given, task, correct="batch-norm", **FAST)
    assert "batch norm" not in corrected.verdict
    members = [load_file(file) for file in given]
    for name in ("1.weight", "1.bias", "2.weight", "2.bias", "4.weight", "4.bias"):  # rounded once
        expected = sum(member[name].double() for member in members) / 3
        assert torch.equal(corrected.weights[name], expected.float())
    ((x, _),) = task.train.batches(len(task.train))
    hidden = x.flatten(1).double() @ corrected.weights["1.weight"].double().T + corrected.weights["1.bias"].double()
    assert torch.allclose(corrected.weights["2.running_mean"].double(), hidden.mean(0), atol=1e-3)
    assert not torch.allclose(plain.weights["2.running_mean"].double(), hidden.mean(0), atol=1e-3)


def test_counters_that_differ_are_explained(normed, tmp_path):
    folder, task = normed
    model = task.factory()
    model.load_state_dict(load_file(folder / "c2.safetensors"))
    ch.save(train(model, task, 5, torch.Generator().manual_seed(3), 1e-3), tmp_path / "longer.safetensors")
    found = average([*files(folder, "c1"), tmp_path / "longer.safetensors"], task, **FAST)
    assert found.weights["2.num_batches_tracked"] == load_file(folder / "c1.safetensors")["2.num_batches_tracked"]
    assert "2.num_batches_tracked count batches, differ, and are those of c1" in found.verdict


def test_a_mean_is_scored_as_it_is_written(normed):
    folder, task = normed
    found = average(files(folder, "c1", "c2"), task, **FAST)
    model = task.factory()
    model.load_state_dict(found.weights)
    model.eval()
    ((x, y),) = task.train.batches(len(task.train))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model(x).double(), y)
    assert found.soup_scores["train"].loss == pytest.approx(float(expected), abs=1e-5)


def test_a_mean_that_its_type_cannot_hold_is_not_written_by_force(normed, tmp_path):
    folder, task = normed
    first = {
        name: each.half() if each.is_floating_point() else each
        for name, each in load_file(folder / "c1.safetensors").items()
    }
    large = load_file(folder / "c2.safetensors")
    large["1.bias"][0] = -1e6
    save_file(first, tmp_path / "half.safetensors")
    save_file(large, tmp_path / "large.safetensors")
    given = [tmp_path / "half.safetensors", tmp_path / "large.safetensors"]
    found = average(given, task, points=3, refine=0, threshold=float("inf"))
    assert found.overflows == ("1.bias",)
    assert "values in 1.bias that float16, the type of half, cannot hold" in found.verdict
    with pytest.raises(ConnectivityError, match="float16"):
        found.save(tmp_path / "soup.safetensors", force=True)
    assert not (tmp_path / "soup.safetensors").exists()
    found = average(given[::-1], task, points=3, refine=0, threshold=float("inf"))
    assert (found.overflows, found.is_mean) == ((), True)


def test_a_folder_comes_back_as_such_a_folder(tmp_path):
    folder = tmp_path / "soups"
    folder.mkdir()
    task = write_all(folder)
    for name in ("c1", "c2"):
        (tmp_path / name).mkdir()
        (folder / f"{name}.safetensors").rename(tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text('{"hidden": 16}')
    found = average([tmp_path / "c1", tmp_path / "c2"], task, **FAST)
    assert found.members == ("c1", "c2")
    found.save(tmp_path / "mean")
    assert (tmp_path / "mean" / "config.json").read_text() == '{"hidden": 16}'
    assert load_file(tmp_path / "mean" / "model.safetensors").keys() == found.weights.keys()
