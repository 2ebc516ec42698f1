"""`graph`: components, trees, resumption after a kill, shards, and one file of pairs however many there are."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from soups import COPIES, STRANGERS, files
from torch import nn

from connectivity_hooks_averaging.commands.graph import command
from connectivity_hooks_averaging.finished import FinishedPairs
from connectivity_hooks_averaging.graphs.components import components
from connectivity_hooks_averaging.graphs.tree import spanning_tree

WORDS = ["--data", "digits", "--points", "3", "--refine", "0", "--json"]


def words(folder, names, out, *further):
    return [*files(folder, *names), "--model", f"{folder}/net.py:make", *WORDS, "--out", out, *further]


def figures(content):
    return {(edge["a"], edge["b"], edge["builder"]): edge["train"] for edge in content["edges"]}


def answer(text):
    """Return all that a report says but for the environment it was made in."""
    return {name: part for name, part in json.loads(text).items() if name != "environment"}


def test_it_finds_the_components(trained, run, tmp_path):
    folder, _ = trained
    status, text, _ = run(command, *words(folder, [STRANGERS[0], *COPIES, STRANGERS[1]], tmp_path / "graph"))
    found = json.loads(text)
    assert status == 0
    assert found["components"] == [COPIES, ["s1"], ["s2"]]
    assert len(found["edges"]) == 21
    with open(tmp_path / "graph" / "barriers.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 21
    by_pair = {(row["a"], row["b"]): float(row["barrier_entezari"]) for row in rows if row["split"] == "train"}
    assert by_pair == {(edge["a"], edge["b"]): edge["barrier"] for edge in found["edges"]}
    assert "<svg" in (tmp_path / "graph" / "report.html").read_text()
    written = {file.name for file in (tmp_path / "graph").iterdir()}
    assert written == {"barriers.csv", "barriers.svg", "graph.svg", "report.html", "report.json", "pairs.jsonl"}


def test_a_builder_works_along_the_tree_alone(trained, run, tmp_path):
    folder, _ = trained
    further = ["--tree", "--builder", "bezier", "--bezier.budget", "20steps", "--keep-paths"]
    _, text, _ = run(command, *words(folder, ["c1", "c2", "c3", "s1"], tmp_path, *further))
    found = json.loads(text)
    assert {edge["builder"] for edge in found["edges"]} == {"bezier"}
    assert len(found["edges"]) == 3
    lines = {(line["a"], line["b"]): line["barrier"] for line in found["lines"]}
    assert len(lines) == 6
    stranger = [(edge["a"], edge["b"]) for edge in found["edges"] if "s1" in (edge["a"], edge["b"])]
    assert lines[stranger[0]] == min(barrier for pair, barrier in lines.items() if "s1" in pair)
    paths = sorted(file.name for file in tmp_path.glob("*.path.safetensors"))
    assert paths == sorted(f"{edge['a']}-{edge['b']}.path.safetensors" for edge in found["edges"])


def test_shards_leave_what_the_run_without_finds(trained, run, tmp_path):
    folder, _ = trained
    names = ["c1", "c2", "s1"]
    for number in (2, 1):
        status, text, _ = run(command, *words(folder, names, tmp_path / "parts", "--shard", f"{number}/2"))
        assert (status, json.loads(text)["again"]) == (0, False)
    before = {file.name: file.read_bytes() for file in (tmp_path / "parts").iterdir()}
    assert set(before) == {"pairs.1-of-2.jsonl", "pairs.2-of-2.jsonl"}
    _, merged, _ = run(command, *words(folder, names, tmp_path / "parts"))
    assert (tmp_path / "parts" / "pairs.jsonl").read_bytes() == b""  # nothing was measured again
    _, whole, _ = run(command, *words(folder, names, tmp_path / "whole"))
    assert answer(merged) == answer(whole)


def test_shards_of_a_tree_wait_for_all_lines(trained, run, tmp_path):
    folder, _ = trained
    further = ["--tree", "--builder", "bezier", "--bezier.budget", "5steps"]
    share = [words(folder, ["c1", "c2", "s1"], tmp_path, *further, "--shard", f"{number}/2") for number in (1, 2)]
    again = [json.loads(run(command, *each)[1])["again"] for each in (share[0], share[1], share[0])]
    assert again == [True, False, False]
    run(command, *share[1])
    size = sum(file.stat().st_size for file in tmp_path.glob("pairs.*"))
    _, text, _ = run(command, *words(folder, ["c1", "c2", "s1"], tmp_path, *further))
    assert len(json.loads(text)["edges"]) == 2
    assert sum(file.stat().st_size for file in tmp_path.glob("pairs.*")) == size
    _, whole, _ = run(command, *words(folder, ["c1", "c2", "s1"], tmp_path / "whole", *further))
    assert answer(text) == answer(whole)


@pytest.mark.parametrize("further", [[], ["--tree"], ["--tree", "--builder", "bezier", "--bezier.budget", "5steps"]])
def test_a_second_run_says_what_the_first_one_did(trained, run, tmp_path, further):
    folder, task = trained
    given = words(folder, ["c1", "s1", "c2", "s2"], tmp_path / "graph", *further)
    first, second = (run(command, *given)[1] for _ in range(2))
    assert answer(first) == answer(second)
    by_split = {split: double_loss(load_file(folder / "s1.safetensors"), split) for split in task.splits()}
    found = {each["name"]: each["loss"] for each in json.loads(second)["checkpoints"]}
    assert found["s1"] == pytest.approx(by_split[task.train], rel=1e-5)
    assert found["s1"] != pytest.approx(by_split[task.test], rel=1e-2)
    for edge in json.loads(second)["edges"]:
        assert edge["barrier"] == edge["train"]["barrier_entezari"]


def double_loss(weights, split):
    ((x, y),) = split.batches(len(split))
    w = {name: tensor.double() for name, tensor in weights.items()}
    hidden = (x.double().flatten(1) @ w["1.weight"].T + w["1.bias"]).clamp_min(0)
    return float(nn.functional.cross_entropy(hidden @ w["3.weight"].T + w["3.bias"], y))


def lying(lie):
    """Return the line of `pairs.jsonl` with another content and the checksum of that."""

    def lied(line):
        content = json.loads(line.partition(" ")[2])
        lie(content["pair"], content["pair"]["barriers"])
        text = json.dumps(content)
        return f"{zlib.crc32(text.encode()):08x} {text}"

    return lied


@pytest.mark.parametrize(
    "lie",
    [
        lambda pair, of: of.pop("test"),
        lambda pair, of: of.update(other=of.pop("test")),
        lambda pair, of: pair.update(training="test"),
        lambda pair, of: pair.update(length=-1.0),
        lambda pair, of: of["train"].update(barrier_entezari=-5.0),
        lambda pair, of: of["train"].update(barrier_entezari=float("nan")),
        lambda pair, of: of["test"].update(loss_max=0.0),
        lambda pair, of: of["train"].update(loss_ends=[99.0, 1.0]),
        lambda pair, of: of["train"].update(climb=7.0),
        lambda pair, of: of["train"].update(worst_t=2.0),
        lambda pair, of: of["train"].update(error_max=-1.0),
    ],
)
def test_kept_figures_that_cannot_be_are_measured_again(trained, run, tmp_path, lie):
    folder, _ = trained
    given = words(folder, ["c1", "s1"], tmp_path / "graph")
    kept = tmp_path / "graph" / "pairs.jsonl"
    _, first, _ = run(command, *given)
    kept.write_text(lying(lie)(kept.read_text()) + "\n")
    status, second, _ = run(command, *given)
    assert status == 0
    assert answer(second) == answer(first)
    assert kept.read_bytes().count(b"\n") == 2


CALL = """
import sys
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks_averaging.commands.graph import command
from connectivity_hooks_averaging import finished
if sys.argv[1] == "slow":
    import time
    add = finished.FinishedPairs.add
    def slow(self, subject, pair):
        add(self, subject, pair)
        time.sleep(1)
    finished.FinishedPairs.add = slow
sys.exit(exit_status("graph", lambda: command, sys.argv[2:]))
"""


def test_a_killed_run_goes_on_with_the_pairs_that_are_left(trained, run, tmp_path):
    folder, _ = trained
    given = [str(word) for word in words(folder, COPIES[:4], tmp_path / "killed")]
    process = subprocess.Popen([sys.executable, "-c", CALL, "slow", *given], stdout=subprocess.DEVNULL)
    kept = tmp_path / "killed" / "pairs.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (kept.exists() and kept.read_bytes().count(b"\n") >= 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = kept.read_bytes()
    assert 2 <= before.count(b"\n") < 6
    kept.write_bytes(before + b"deadbeef {half a li")  # a kill in the middle of a line
    status, resumed, _ = run(command, *given)
    assert status == 0
    assert kept.read_bytes().startswith(before)
    assert kept.read_bytes().count(b"\n") == 6 + 1
    _, whole, _ = run(command, *words(folder, COPIES[:4], tmp_path / "whole"))
    assert answer(resumed) == answer(whole)


def test_other_data_or_a_changed_checkpoint_is_measured_again(trained, run, tmp_path):
    folder, _ = trained
    for name in ("c1", "c2"):
        save_file(load_file(folder / f"{name}.safetensors"), tmp_path / f"{name}.safetensors")
    given = [*files(tmp_path, "c1", "c2"), "--model", f"{folder}/net.py:make", *WORDS, "--out", tmp_path / "graph"]
    kept = tmp_path / "graph" / "pairs.jsonl"
    lines = []
    for change in ("nothing", "nothing", "weights", "points"):
        if change == "weights":
            weights = load_file(tmp_path / "c2.safetensors")
            save_file({name: tensor * 1.1 for name, tensor in weights.items()}, tmp_path / "c2.safetensors")
        assert run(command, *given, *(["--points", "4"] if change == "points" else []))[0] in (0, 2)
        lines.append(kept.read_bytes().count(b"\n"))
    assert lines[:3] == [1, 1, 2]


def test_many_checkpoints_leave_one_file_of_pairs(run, tmp_path):
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 2)\n")
    torch.manual_seed(0)
    import numpy as np

    x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=np.arange(8) % 2, x_test=x, y_test=np.arange(8) % 2)
    paths = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for path in paths:
        weights = {"weight": torch.randn(2, 2, generator=generator), "bias": torch.randn(2, generator=generator)}
        save_file(weights, path)
    given = [*paths, "--model", f"{tmp_path}/net.py:make", "--data", tmp_path / "data.npz", "--points", "3"]
    given += ["--refine", "0", "--json", "--out", tmp_path / "graph"]
    folder = tmp_path / "graph"
    status, text, _ = run(command, *given)
    assert (status, len(json.loads(text)["edges"])) == (0, 66)
    assert len([*folder.iterdir()]) == 6
    assert (folder / "pairs.jsonl").read_bytes().count(b"\n") == 66


def test_names_with_hyphens_do_not_share_files(trained, run, tmp_path):
    folder, _ = trained
    for name, source in (("a-b", "c1"), ("c", "c2"), ("a", "c3"), ("b-c", "c4")):
        save_file(load_file(folder / f"{source}.safetensors"), tmp_path / f"{name}.safetensors")
    out = tmp_path / "graph"
    given = [*files(tmp_path, "a-b", "c", "a", "b-c"), "--model", f"{folder}/net.py:make", *WORDS, "--out", out]
    assert run(command, *given, "--keep-paths")[0] == 0
    paths = {file.name for file in out.glob("*.path.safetensors")}
    assert {"a-b-c.3.path.safetensors", "a-b-c.1.path.safetensors", "c-a.path.safetensors"} <= paths
    assert len(paths) == 6


@pytest.mark.parametrize("further", [[], ["--shard", "1/2"]])
def test_too_long_a_name_is_refused_before_anything_is_made(trained, run, tmp_path, further):
    folder, _ = trained
    names = [letter * 120 for letter in "ab"]
    for name, source in zip(names, ("c1", "c2"), strict=True):
        save_file(load_file(folder / f"{source}.safetensors"), tmp_path / f"{name}.safetensors")
    given = [*files(tmp_path, *names), "--model", f"{folder}/net.py:make", *WORDS, "--out", tmp_path / "graph"]
    status, _, error = run(command, *given, *further)
    assert (status, "rename it" in error) == (3, True)
    assert not (tmp_path / "graph").exists()


def test_a_graph_of_one_is_refused(trained, run, tmp_path):
    folder, _ = trained
    status, _, error = run(command, *words(folder, ["c1"], tmp_path / "graph"))
    assert (status, "one checkpoint" in error) == (3, True)
    assert not (tmp_path / "graph").exists()


def test_a_damaged_line_is_said_and_measured_again(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("00000000 {}\n")
    said = []

    class Heard:
        def say(self, message):
            said.append(message)

    with FinishedPairs(tmp_path, progress=Heard()) as finished:
        assert finished.known({}, ["train"]) is None
    assert "1 of its lines cannot be used" in said[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_and_the_components_are_those_of_scipy(seed):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    barriers = torch.rand(9, 9, generator=torch.Generator().manual_seed(seed)).double().triu(1).numpy()
    edges = {(a, b): barriers[a, b] for a, b in itertools.combinations(range(9), 2)}
    tree = spanning_tree(9, edges)
    assert sum(edges[edge] for edge in tree) == pytest.approx(minimum_spanning_tree(csr_array(barriers)).sum())
    low = [edge for edge, barrier in edges.items() if barrier <= 0.2]
    count, labels = connected_components(csr_array(barriers * (barriers <= 0.2)), directed=False)
    groups = components(9, low)
    assert len(groups) == count
    assert all(len({labels[node] for node in group}) == 1 for group in groups)
    assert components(9, [edge for edge in tree if edges[edge] <= 0.2]) == groups


def test_a_barrier_that_is_no_number_comes_last():
    edges = {(0, 1): float("nan"), (0, 2): 3.0, (1, 2): float("inf")}
    assert spanning_tree(3, edges)[0] == (0, 2)
