"""``connect --shard`` and ``merge``: together the very files that one process writes."""

import csv
import json
import shlex
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from dying_journal import Dying

from connectivity_hooks.evaluation.scorer import Scorer
from connectivity_hooks.paths import Path


@pytest.fixture
def shards(run, ends):
    """Return a function that runs shards of a work and asserts that each ends well."""

    def shards(numbers, count, out, *more):
        for number in numbers:
            status, _, err = run(*ends, *more, "--out", out, "--shard", f"{number}/{count}")
            assert (status, err) == (0, "")

    return shards


@pytest.fixture
def merge(run, workspace):
    def merge(*folders):
        return run("merge", *folders, "--model", f"{workspace}/net.py:make")

    return merge


def content(folder):
    """Return what a finished folder says, without what depends on the clock and on the memory of the machine."""
    report = json.loads((folder / "report.json").read_text())
    for builder in report["builders"].values():
        for clock in [name for name in builder if "seconds" in name or "memory" in name]:
            del builder[clock]
    paths = {file.name: file.read_bytes() for file in folder.glob("*.path.safetensors")}
    with open(folder / "evaluation.csv", newline="") as stream:
        return report, paths, list(csv.reader(stream))


TWO = ["--builder", "linear", "--builder", "bezier", "--bezier.budget", "20steps", "--bezier.batch-size", "64"]


PREPARED = [*TWO, "--align", "weight-matching", "--correct", "batch-norm", "--refine", "0"]


@pytest.mark.parametrize(("count", "more"), [(3, []), (1, []), (4, TWO), (2, PREPARED)])
def test_shards_and_a_merge_make_what_one_process_makes(run, ends, shards, merge, tmp_path, count, more):
    assert run(*ends, *more, "--points", "9", "--out", tmp_path / "one")[0] == 0
    shards(range(1, count + 1), count, tmp_path / "all", "--points", "9", *more)
    assert not (tmp_path / "all" / "report.json").exists()
    status, out, err = merge(tmp_path / "all")
    assert (status, err) == (0, "")
    assert "onnected" in out
    assert content(tmp_path / "all") == content(tmp_path / "one")


def test_what_is_done_is_not_done_again_and_a_second_merge_measures_nothing(shards, merge, tmp_path, monkeypatch):
    shards((1, 2), 2, tmp_path, "--points", "5")
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "shards").iterdir()}
    shards((1, 2), 2, tmp_path, "--points", "5")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "shards").iterdir()} == first
    assert merge(tmp_path)[0] == 0
    once = content(tmp_path)

    def nothing(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(Scorer, "__call__", nothing)
    assert merge(tmp_path)[0] == 0
    assert content(tmp_path) == once


def test_folders_that_were_apart_are_merged_like_one(run, ends, shards, merge, tmp_path):
    for number in (1, 2, 3):
        shards((number,), 3, tmp_path / f"on{number}", *TWO, "--points", "5")
    folders = [tmp_path / f"on{number}" for number in (1, 2, 3)]
    status, _, err = merge(folders[0], folders[2])
    assert status == 4
    assert "1 of 3 items are missing (1 of 2 of linear): run shard 2 again" in err
    assert merge(*folders)[0] == 0
    assert run(*ends, *TWO, "--points", "5", "--out", tmp_path / "one")[0] == 0
    assert content(folders[0]) == content(tmp_path / "one")


def test_folders_copied_into_one_are_one_and_a_merge_goes_where_it_is_told(run, shards, workspace, tmp_path):
    for number in (1, 2):
        shards((number,), 2, tmp_path / str(number), "--points", "5")
        shutil.copytree(tmp_path / str(number), tmp_path / "copied", dirs_exist_ok=True)
    words = ["merge", tmp_path / "copied", "--model", f"{workspace}/net.py:make", "--out", tmp_path / "out"]
    assert run(*words)[0] == 0
    assert {file.name for file in (tmp_path / "copied").iterdir()} == {"shards"}
    assert (tmp_path / "out" / "report.html").exists()


def test_of_several_processes_that_do_one_shard_only_the_first_writes(run, ends, tmp_path, monkeypatch):
    for place in ("connecting.work", "connecting.measured", "shards.doing", "shards.worklist"):
        monkeypatch.setattr(f"connectivity_hooks.{place}.is_main_process", lambda: False)
    assert run(*ends, "--points", "3", "--out", tmp_path, "--shard", "1/2")[0] == 0
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_killed_shard_goes_on_and_until_then_its_item_is_missing(shards, run, ends, merge, tmp_path, monkeypatch):
    shards((1,), 2, tmp_path, "--points", "13")
    monkeypatch.setattr("connectivity_hooks.shards.items.Journal", Dying)
    assert run(*ends, "--points", "13", "--out", tmp_path, "--shard", "2/2")[0] == 1
    monkeypatch.undo()
    assert merge(tmp_path)[0] == 4
    assert not (tmp_path / "report.json").exists()
    (hidden,) = (tmp_path / "shards").glob(".*.2-of-2.jsonl")
    before = hidden.read_text()
    shards((2,), 2, tmp_path, "--points", "13")
    (result,) = (tmp_path / "shards").glob("linear.*.2-of-2.jsonl")
    assert result.read_text().startswith(before)
    assert merge(tmp_path)[0] == 0


def test_the_command_that_a_shard_names_merges(run, ends, shards, tmp_path):
    shards((2,), 2, tmp_path, "--points", "3")
    out = run(*ends, "--points", "3", "--out", tmp_path, "--shard", "1/2")[1]
    named = out.partition("connectivity-hooks ")[2].strip()
    assert run(*shlex.split(named))[0] == 0


def test_a_limit_and_json_are_of_the_merge(run, shards, workspace, tmp_path):
    shards((1, 2), 2, tmp_path, "--points", "5")
    words = ["merge", tmp_path, "--model", f"{workspace}/net.py:make", "--json", "--fail-above"]
    assert run(*words, "1e-9")[0] == 4
    status, out, err = run(*words, "1e9")
    assert (status, err) == (0, "")
    assert json.loads(out)["builders"]["linear"]["train"]["loss_max"] > 0


@pytest.mark.parametrize("shard", ["0/4", "5/4", "a/b", "", "1", "1/", "-1/4", " 1/4", "²/4", "1/9999999999999"])
def test_what_is_no_shard_is_wrong_usage(run, ends, tmp_path, shard):
    status, out, err = run(*ends, "--out", tmp_path / "new", "--shard", shard)
    assert (status, out) == (2, "")
    assert err == f"error: --shard {shard}: expected I/N with whole numbers and 1 ≤ I ≤ N, such as 2/4\n"
    assert not (tmp_path / "new").exists()


def test_a_shard_of_very_many_has_nothing_to_do(run, ends, merge, tmp_path):
    status, out, _ = run(*ends, "--points", "3", "--out", tmp_path, "--shard", "999999999/999999999")
    assert status == 0
    assert "nothing is left for it" in out
    assert "run shards 1-3 again" in merge(tmp_path)[2]


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--out", "new", "--fail-above", "1"],
        ["--out", "new", "--condition", "separability"],
        ["--out", "new", "--builder", "best"],
        ["--out", "new", "--builder", "all"],
    ],
)
def test_what_a_shard_cannot_do_is_said_before_anything_is_read(run, ends, tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*ends, "--shard", "1/2", *more)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--shard" in err
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_other_data_or_of_another_division_is_refused(run, ends, workspace, shards, tmp_path):
    shards((1,), 2, tmp_path / "out", "--points", "5")
    with np.load(workspace / "data.npz") as data:
        np.savez(tmp_path / "data.npz", **{**data, "x_train": data["x_train"][::-1]})
    elsewhere = [*ends[:-1], tmp_path / "data.npz"]
    for words, said in (
        ([*elsewhere, "--points", "5", "--shard", "2/2"], "subject.task.data is"),
        ([*ends, "--points", "7", "--shard", "2/2"], "measuring.points is 5 there and 7 here"),
        ([*ends, "--points", "5", "--shard", "3/3"], "shards is 2 there and 3 here"),
    ):
        status, out, err = run(*words, "--out", tmp_path / "out")
        assert (status, out, err.count("\n")) == (3, "", 1)
        assert said in err


def test_data_that_changed_under_its_name_is_refused_by_the_merge(run, ends, workspace, merge, tmp_path):
    data = tmp_path / "data.npz"
    data.write_bytes((workspace / "data.npz").read_bytes())
    words = [*ends[:-1], data, "--points", "3", "--out", tmp_path / "out"]
    assert run(*words, "--shard", "1/1")[0] == 0
    with np.load(data) as held:
        arrays = {**held, "y_train": held["y_train"][::-1]}
    np.savez(data, **arrays)
    status, out, err = merge(tmp_path / "out")
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert "linear: is not what its shards did: data is" in err


def test_folders_without_shards_and_of_different_works_are_refused(shards, merge, tmp_path):
    status, _, err = merge(tmp_path)
    assert (status, err) == (3, f"error: {tmp_path}: holds no work of shards; give the --out of `connect --shard`\n")
    assert list(tmp_path.iterdir()) == []
    shards((1,), 2, tmp_path / "a", "--points", "3")
    shards((2,), 2, tmp_path / "b", "--points", "5")
    status, _, err = merge(tmp_path / "a", tmp_path / "b")
    assert (status, err.count("\n")) == (3, 1)
    assert f"{tmp_path / 'b' / 'shards' / 'work.json'}: is of another work: measuring.points is 5 there" in err


def test_no_file_makes_a_merge_run_code(run, shards, tmp_path):
    shards((1,), 1, tmp_path, "--points", "3")
    status, _, err = run("merge", tmp_path)
    assert (status, err.count("\n")) == (2, 1)
    assert "which is code: give it again" in err


@pytest.fixture
def whole(shards, tmp_path):
    """Return the folder of the files of shards that are all there."""
    shards((1, 2), 2, tmp_path, "--points", "5")
    return tmp_path / "shards"


@pytest.mark.parametrize("name", ["work.json", "linear.*.1-of-2.jsonl", "linear.*.path.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"\xff\n", b"[" * 9999 + b"\n", b"{}\n", b"00000000 {}\n"])
def test_a_damaged_file_is_named_in_one_line(whole, merge, name, content):
    (file,) = whole.glob(name)
    file.write_bytes(content)
    status, out, err = merge(whole.parent)
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert err.startswith(f"error: {file}: ")
    assert not (whole.parent / "report.json").exists()


def changed(work, **fields):
    return json.dumps({**work, **fields})


@pytest.mark.parametrize(
    "lie",
    [
        {"ways": {}},
        {"ways": []},
        {"shards": -1},
        {"seed": "x"},
        {"task": {"model": "net.py:make"}},
        {"measuring": {"points": 10**9, "refine": 0, "correction": "none", "correction_options": {}}},
        {"format": "x"},
        {"version": "9.9"},
        {"more": 1},
    ],
)
def test_a_list_of_work_that_lies_is_refused(whole, merge, lie):
    file = whole / "work.json"
    file.write_text(changed(json.loads(file.read_text()), **lie))
    status, out, err = merge(whole.parent)
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert err.startswith(f"error: {file}: is not a list of work in shards: ")


def test_work_of_another_command_is_not_taken_for_ours(whole, merge):
    file = whole / "work.json"
    file.write_text(changed(json.loads(file.read_text()), command="graph"))
    status, _, err = merge(whole.parent)
    assert (status, err) == (3, f"error: {whole.parent}: is work of 'graph', expected 'connect'\n")


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "..", "nul\0"])
def test_a_list_of_work_writes_no_file_elsewhere(whole, merge, name):
    file = whole / "work.json"
    work = json.loads(file.read_text())
    file.write_text(changed(work, ways={name: work["ways"]["linear"]}))
    status, _, err = merge(whole.parent)
    assert (status, err.count("\n")) == (3, 1)
    assert "is no name of a path" in err


def test_a_way_may_not_be_divided_into_more_than_there_are(whole, merge):
    file = whole / "work.json"
    work = json.loads(file.read_text())
    for parts, first in ((10**9, 1), (0, 1), (2, 2), (1, 0)):
        way = {**work["ways"]["linear"], "parts": parts, "first": first}
        file.write_text(changed(work, ways={"linear": way}, shards=max(2, 2 * parts)))
        if (parts, first) == (2, 2):
            file.write_text(changed(work, ways={"linear": way}))
        status, _, err = merge(whole.parent)
        assert (status, err.count("\n")) == (3, 1)
        assert "is not divided among shards" in err


def test_a_result_along_another_path_is_refused(whole, shards, merge, tmp_path):
    (file,) = whole.glob("linear.*.2-of-2.jsonl")
    (path,) = whole.glob("linear.*.path.safetensors")
    other = Path.load(path)
    nearer = {name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in other.end.items()}
    moved = Path.from_points([other.start, nearer])
    replace(moved, end_points=other.end_points, builder="linear", options=other.options).save(path)
    status, _, err = merge(tmp_path)
    assert (status, err.count("\n")) == (3, 1)
    assert "was measured along another path than linear's" in err
    replace(other, end_points=None).save(path)
    assert f"{path}: is not the path of linear between these checkpoints" in merge(tmp_path)[2]
    assert file.exists()


def test_results_that_contradict_each_other_are_refused(whole, merge, tmp_path):
    shutil.copytree(whole, tmp_path / "again" / "shards")
    assert merge(whole.parent, tmp_path / "again")[0] == 0
    (file,) = (tmp_path / "again" / "shards").glob("linear.*.1-of-2.jsonl")
    lines = [json.loads(line.partition(" ")[2]) for line in file.read_text().splitlines()]
    lines[1]["measured"][0]["loss"] += 1e-9
    texts = [json.dumps(line, sort_keys=True) for line in lines]
    file.write_text("".join(f"{zlib.crc32(text.encode()):08x} {text}\n" for text in texts))
    status, _, err = merge(whole.parent, tmp_path / "again")
    assert (status, err.count("\n")) == (3, 1)
    assert f"{file}: contradicts another result at t = 0" in err
