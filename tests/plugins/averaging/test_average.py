"""`average`: the copies are kept and the strangers named; soups match an independent computation; refusals."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from soups import COPIES, STRANGERS, files
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import ConnectivityError, InputError, UsageError
from connectivity_hooks_averaging.commands.average import command
from connectivity_hooks_averaging.soups.average import average

FAST = {"points": 5, "refine": 0}
WORDS = ["--data", "digits", "--points", "5", "--refine", "0"]


def double_mean(paths, shares=None):
    shares = torch.tensor(shares or [1.0] * len(paths), dtype=torch.float64)
    weights = [load_file(path) for path in paths]
    return {
        name: sum(share * each[name].double() for share, each in zip(shares, weights, strict=True)) / shares.sum()
        for name in weights[0]
    }


def double_loss(weights, x, y):
    """Return the cross-entropy of the two-layer network, by hand in float64."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    hidden = (x.double().flatten(1) @ w["1.weight"].T + w["1.bias"]).clamp_min(0)
    logits = hidden @ w["3.weight"].T + w["3.bias"]
    return float((logits.logsumexp(1) - logits[torch.arange(len(y)), y]).mean())


def assert_near(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].double() - tensor).abs().max() <= 1e-6


def test_the_five_copies_are_averaged_and_the_two_strangers_named(trained, run, tmp_path):
    folder, _ = trained
    names = [STRANGERS[0], *COPIES, STRANGERS[1]]
    out = tmp_path / "soup.safetensors"
    words = [*files(folder, *names), "--model", f"{folder}/net.py:make", *WORDS, "--out", out]
    status, text, _ = run(command, *words)
    assert status == 0
    assert "Averaged 5 of 7 checkpoints (c1, c2, c3, c4, c5)" in text
    assert all(f"Left out: {name}" in text for name in STRANGERS)
    assert_near(load_file(out), double_mean(files(folder, *COPIES)))
    report = json.loads((tmp_path / "soup.report" / "report.json").read_text())
    assert report["members"] == COPIES
    assert report["barriers"][0][1] > report["threshold"] >= report["barriers"][1][2]
    assert "<svg" in (tmp_path / "soup.report" / "report.html").read_text()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    model.load_state_dict(load_file(out), strict=True)


def test_weights_make_a_weighted_mean(trained):
    folder, task = trained
    found = average(files(folder, *COPIES[:3]), task, weights=[1, 2, 1], **FAST)
    assert_near(found.weights, double_mean(files(folder, *COPIES[:3]), [1, 2, 1]))


def test_a_greedy_soup_is_that_of_the_recipe(trained):
    folder, task = trained
    held = task.train.sample(round(0.3 * len(task.train)), 7)
    ((x, y),) = held.batches(len(held))
    paths = files(folder, *COPIES)
    order = sorted(paths, key=lambda path: double_loss(load_file(path), x, y))
    chosen = order[:1]
    for path in order[1:]:
        if double_loss(double_mean([*chosen, path]), x, y) <= double_loss(double_mean(chosen), x, y):
            chosen.append(path)
    found = average([*paths, *files(folder, *STRANGERS)], task, method="greedy", hold_out=0.3, seed=7, **FAST)
    assert [*found.members] == [path.rpartition("/")[2].removesuffix(".safetensors") for path in chosen]
    assert_near(found.weights, double_mean(chosen))
    assert found.losses[found.members[0]] == pytest.approx(double_loss(load_file(chosen[0]), x, y), abs=1e-6)


def test_where_no_mean_is_better_the_best_of_all_is_recommended(trained, tmp_path):
    folder, task = trained
    weights = load_file(files(folder, "c1")[0])
    for name, factor in (("weak", 0.8), ("weaker", 0.7)):  # a line along which the loss rises all the way
        save_file({key: tensor * factor for key, tensor in weights.items()}, tmp_path / f"{name}.safetensors")
    copies = files(tmp_path, "weak", "weaker")
    found = average([*copies, *files(folder, "s1")], task, method="greedy", threshold=0.05, **FAST)
    assert found.members == ("weak",)
    assert found.losses["s1"] < found.losses["weak"] < found.losses["weaker"]
    assert "any one of those connected with it (weaker)" in found.verdict
    assert f"s1 has the lowest loss there, {found.losses['s1']:.4g}: use s1." in found.verdict
    alone = average(copies, task, method="greedy", threshold=0.05, **FAST)
    assert "use weak." in alone.verdict


def test_the_barrier_is_the_largest_excess_over_the_straight_line(trained):
    folder, task = trained
    ((x, y),) = task.train.batches(len(task.train))
    found = average(files(folder, "c1", "s1"), task, **FAST)
    a, b = (load_file(path) for path in files(folder, "c1", "s1"))
    ends = double_loss(a, x, y), double_loss(b, x, y)
    excess = []
    for t in (0, 0.25, 0.5, 0.75, 1):
        mixed = {name: (1 - t) * a[name].double() + t * b[name].double() for name in a}
        excess.append(double_loss(mixed, x, y) - (1 - t) * ends[0] - t * ends[1])
    assert found.barriers[0][1] == pytest.approx(max(excess), abs=1e-5)


def test_what_alignment_connects_is_taken_in(trained, tmp_path):
    folder, task = trained
    weights = load_file(files(folder, "c2")[0])
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    moved = {"1.weight": weights["1.weight"][order], "1.bias": weights["1.bias"][order]}
    moved |= {"3.weight": weights["3.weight"][:, order].contiguous(), "3.bias": weights["3.bias"]}
    save_file(moved, tmp_path / "moved.safetensors")
    given = [*files(folder, "c1", "c3"), str(tmp_path / "moved.safetensors")]
    plain = average(given, task, **FAST)
    assert [out.name for out in plain.left_out] == ["moved"]
    found = average(given, task, align="weight-matching", **FAST)
    assert found.members == ("c1", "c3", "moved")
    ((x, y),) = task.train.batches(len(task.train))
    # The aligner scales the neurons too, so that the weights are those of the copy as a function alone.
    straight = double_loss(double_mean(files(folder, "c1", "c3", "c2")), x, y)
    assert double_loss(found.weights, x, y) == pytest.approx(straight, abs=2e-3)


def test_nothing_is_written_where_no_two_are_connected(trained, run, tmp_path):
    folder, _ = trained
    out = tmp_path / "soup.safetensors"
    words = [*files(folder, "c1", "s1"), "--model", f"{folder}/net.py:make", *WORDS]
    status, text, _ = run(command, *words, "--out", out)
    assert status == 4
    assert "no two are connected" in text
    assert not list(tmp_path.iterdir())
    status, text, _ = run(command, *words, "--out", out, "--report", tmp_path / "report", "--json")
    assert (status, json.loads(text)["written"]) == (4, None)
    assert [file.name for file in tmp_path.iterdir()] == ["report"]
    assert not [file for file in (tmp_path / "report").iterdir() if file.name.startswith(".")]


def test_a_mean_worse_than_its_worst_member_is_refused_unless_forced(trained, run, tmp_path):
    folder, _ = trained
    words = [*files(folder, "c1", "s1"), "--model", f"{folder}/net.py:make", *WORDS, "--threshold", "100"]
    status, text, _ = run(command, *words, "--out", tmp_path / "soup.safetensors")
    assert (status, [*tmp_path.iterdir()]) == (4, [])
    assert text.startswith("Not to be used")
    status, _, _ = run(command, *words, "--out", tmp_path / "soup.safetensors", "--force")
    assert status == 0
    assert_near(load_file(tmp_path / "soup.safetensors"), double_mean(files(folder, "c1", "s1")))


def test_where_the_report_has_no_place_nothing_is_computed_or_written(trained, run, tmp_path):
    folder, _ = trained
    (tmp_path / "soup.report").write_text("a file")
    words = [*files(folder, "c1", "c2"), "--model", f"{folder}/net.py:make", *WORDS]
    status, _, error = run(command, *words, "--out", tmp_path / "soup.safetensors")
    assert (status, "soup.report: cannot be written to" in error) == (3, True)
    assert [file.name for file in tmp_path.iterdir()] == ["soup.report"]


def test_save_refuses_in_python_too(trained, tmp_path):
    folder, task = trained
    found = average(files(folder, "c1", "s1"), task, **FAST)
    with pytest.raises(ConnectivityError, match="no two are connected"):
        found.save(tmp_path / "soup.safetensors", force=True)
    assert not list(tmp_path.iterdir())


def test_one_checkpoint_and_equal_ones_are_refused(trained, tmp_path):
    folder, task = trained
    weights = load_file(files(folder, "c1")[0])
    save_file(weights, tmp_path / "again.safetensors", metadata={"origin": "elsewhere"})
    with pytest.raises(InputError, match="one checkpoint"):
        average(files(folder, "c1"), task, **FAST)
    with pytest.raises(InputError, match="c1, again have the same weights"):
        average([*files(folder, "c1"), tmp_path / "again.safetensors"], task, **FAST)


def test_an_equal_checkpoint_counts_once_and_with_weights_as_often_as_they_say(trained, tmp_path):
    folder, task = trained
    save_file(load_file(files(folder, "c1")[0]), tmp_path / "again.safetensors")
    given = [*files(folder, "c1", "c2"), tmp_path / "again.safetensors"]
    once = average(given, task, **FAST)
    assert once.equal == {"again": "c1"}
    assert "again has the weights of c1" in once.verdict
    assert_near(once.weights, double_mean(files(folder, "c1", "c2")))
    weighted = average(given, task, weights=[1, 1, 1], **FAST)
    assert_near(weighted.weights, double_mean(files(folder, "c1", "c2"), [2, 1]))


def permuted(file, task, out, scale=1.0):
    """Write the same network with its neurons in another order, and scaled."""
    weights = load_file(file)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    moved = {"1.weight": weights["1.weight"][order] * scale, "1.bias": weights["1.bias"][order] * scale}
    moved |= {"3.weight": (weights["3.weight"][:, order] / scale).contiguous(), "3.bias": weights["3.bias"]}
    save_file(moved, out)
    return out


def test_checkpoints_that_alignment_makes_equal_count_once(trained, tmp_path):
    folder, task = trained
    one, two = files(folder, "c1", "c2")
    save_file(load_file(one), tmp_path / "again.safetensors")
    moved = permuted(one, task, tmp_path / "moved.safetensors")
    given = [one, tmp_path / "again.safetensors", moved, two]
    found = average(given, task, align="weight-matching", **FAST)
    assert (found.names, found.equal) == (("c1", "c2"), {"again": "c1", "moved": "c1"})
    assert "moved has the weights of c1 once it is aligned and counts once." in found.verdict
    without = average([one, two], task, align="weight-matching", **FAST)
    for name, tensor in without.weights.items():
        assert torch.equal(found.weights[name], tensor)
    weighted = average(given, task, align="weight-matching", weights=[1, 2, 3, 1], **FAST)
    assert weighted.shares == {"c1": 6, "c2": 1}
    assert "together they count as 6" in weighted.verdict
    with pytest.raises(InputError, match="c1, moved have the same weights, once they are aligned"):
        average([one, moved], task, align="weight-matching", **FAST)


def test_checkpoints_that_alignment_makes_nearly_equal_are_said(trained, tmp_path):
    folder, task = trained
    one, two = files(folder, "c1", "c2")
    weights = load_file(one)
    save_file({name: tensor * (1 + 1e-6) for name, tensor in weights.items()}, tmp_path / "near.safetensors")
    moved = permuted(tmp_path / "near.safetensors", task, tmp_path / "moved.safetensors")
    found = average([one, two, moved], task, align="weight-matching", **FAST)
    assert [(near.a, near.b) for near in found.near] == [("c1", "moved")]
    assert "c1 and moved differ by" in found.verdict


def test_the_same_values_in_another_type_are_equal(trained, tmp_path):
    folder, task = trained
    half = {name: tensor.bfloat16() for name, tensor in load_file(files(folder, "c1")[0]).items()}
    save_file(half, tmp_path / "half.safetensors")
    save_file({name: tensor.float() for name, tensor in half.items()}, tmp_path / "wide.safetensors")
    given = [tmp_path / "half.safetensors", tmp_path / "wide.safetensors"]
    with pytest.raises(InputError, match="half, wide have the same weights"):
        average(given, task, **FAST)
    assert average([*given, *files(folder, "c2")], task, **FAST).equal == {"wide": "half"}


def test_another_architecture_is_refused_with_the_whole_difference(trained, tmp_path):
    folder, task = trained
    for name, width in (("wide", 20), ("narrow", 9)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        ch.save(model, tmp_path / f"{name}.safetensors")
    others = [tmp_path / "wide.safetensors", tmp_path / "narrow.safetensors"]
    with pytest.raises(InputError, match=r"wide.*1\.weight.*narrow.*1\.weight"):
        average([*files(folder, "c1"), *others], task, **FAST)


def test_it_is_written_in_the_type_of_the_first(trained, tmp_path):
    folder, task = trained
    half = {name: tensor.half() for name, tensor in load_file(files(folder, "c1")[0]).items()}
    save_file(half, tmp_path / "half.safetensors")
    given = [tmp_path / "half.safetensors", *files(folder, "c2")]
    found = average(given, task, **FAST)
    found.save(tmp_path / "soup.safetensors")
    written = load_file(tmp_path / "soup.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    for name, tensor in double_mean(given).items():
        assert torch.equal(written[name], tensor.half())


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": [1]},
        {"weights": [1, 0]},
        {"weights": [1, 1], "method": "greedy"},
        {"hold_out": 0.1},
        {"method": "best"},
        {"threshold": -1},
        {"points": 2, "refine": 0},
        {"hold_out": 1.5, "method": "greedy"},
        {"hold_out": "0.1", "method": "greedy"},
        {"threshold": "x"},
        {"threshold": float("nan")},
        {"points": 2.5},
        {"points": "3"},
        {"points": 1},
        {"refine": -1},
        {"seed": -1},
        {"seed": None},
        {"weights": "12"},
        {"weights": 5},
        {"weights": ["1", "2"]},
        {"weights": [None, 1]},
        {"weights": [1e308, 1e308]},
    ],
)
def test_arguments_that_cannot_be_are_refused(trained, wrong):
    folder, task = trained
    with pytest.raises(UsageError):
        average(files(folder, "c1", "c2"), task, **wrong)


def test_one_text_is_no_list_of_checkpoints(trained):
    folder, task = trained
    for wrong in (files(folder, "c1")[0], folder / "c1.safetensors", None):
        with pytest.raises(UsageError, match="checkpoints: expected a list of files or folders"):
            average(wrong, task)


def test_it_is_not_written_over_a_checkpoint_that_is_read(trained, run):
    folder, _ = trained
    one, two = files(folder, "c1", "c2")
    status, _, error = run(command, one, two, "--model", f"{folder}/net.py:make", *WORDS, "--out", two)
    assert status == 3
    assert "over a checkpoint that is read" in error
