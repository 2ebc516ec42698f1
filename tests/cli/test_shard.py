"""``connect --shard`` and ``merge``: together the very files that one process writes."""

import csv
import json

import pytest


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
    """Return what a finished folder says, without what depends on the clock."""
    report = json.loads((folder / "report.json").read_text())
    for builder in report["builders"].values():
        for clock in [name for name in builder if "seconds" in name]:
            del builder[clock]
    paths = {file.name: file.read_bytes() for file in folder.glob("*.path.safetensors")}
    with open(folder / "evaluation.csv", newline="") as stream:
        return report, paths, list(csv.reader(stream))


TWO = ["--builder", "linear", "--builder", "bezier", "--bezier.budget", "20steps", "--bezier.batch-size", "64"]


@pytest.mark.parametrize(("count", "more"), [(3, []), (1, []), (4, TWO), (2, TWO)])
def test_shards_and_a_merge_make_what_one_process_makes(run, ends, shards, merge, tmp_path, count, more):
    assert run(*ends, *more, "--points", "9", "--out", tmp_path / "one")[0] == 0
    shards(range(1, count + 1), count, tmp_path / "all", "--points", "9", *more)
    assert not (tmp_path / "all" / "report.json").exists()
    status, out, err = merge(tmp_path / "all")
    assert (status, err) == (0, "")
    assert "onnected" in out
    assert content(tmp_path / "all") == content(tmp_path / "one")
