"""``--budget``, ``--builder all`` and ``--builder best`` as a user meets them."""

import csv
import json

import numpy as np
import pytest

import connectivity_hooks as ch
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.registry import registry

ATTENTION = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = x.reshape(-1, 6, 6)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))
"""
QUICK = ["--points", "3", "--refine", "0"]


@pytest.fixture
def attentive(tmp_path, workspace):
    """Return the words that connect two small networks with attention."""
    (tmp_path / "net.py").write_text(ATTENTION)
    task = ch.make_task(model=f"{tmp_path}/net.py:Net", data=str(workspace / "data.npz"))
    for name in "ab":
        ch.save(task.factory(), tmp_path / f"{name}.safetensors")
    return [
        "connect", tmp_path / "a.safetensors", tmp_path / "b.safetensors",
        "--model", f"{tmp_path}/net.py:Net", "--data", workspace / "data.npz", "--device", "cpu",
    ]  # fmt: skip


def test_all_builders_on_the_same_samples_and_one_that_refuses_is_a_row(run, attentive, tmp_path):
    status, out, _ = run(*attentive, *QUICK, "--builder", "all", "--budget", "2steps", "--out", tmp_path / "out")
    assert status == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["builders"].keys() | report["refused"].keys() == registry().builders.keys()
    assert "attention" in report["refused"]["certified"]
    assert not report["refused"]["certified"].startswith("builder certified")
    for name, found in report["builders"].items():
        assert found["options"].get("budget", "2steps") == "2steps"
        assert found["build_seconds"] >= 0
        assert (tmp_path / "out" / f"{name}.path.safetensors").exists()
    ends = {tuple(found["train"]["loss_ends"]) for found in report["builders"].values()}
    assert len(ends) == 1
    assert "refused: " in next(line for line in out.splitlines() if line.startswith("certified"))
    with open(tmp_path / "out" / "builders.csv", newline="") as stream:
        rows = {row["builder"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == registry().builders.keys()
    assert rows["certified"]["refused"] == report["refused"]["certified"]
    bezier = report["builders"]["bezier"]
    assert float(rows["bezier"]["train.loss_max"]) == bezier["train"]["loss_max"]
    assert float(rows["bezier"]["build_seconds"]) == bezier["build_seconds"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert report["refused"]["certified"].split("(")[0] in page


def test_a_builder_that_was_named_and_refuses_ends_the_run(run, attentive):
    status, _, err = run(*attentive, *QUICK, "--builder", "linear", "--builder", "certified")
    assert status == 3
    assert err.startswith("error: builder certified: ")


def test_where_all_refuse_the_reasons_are_said_and_nothing_is_left(run, attentive, tmp_path, monkeypatch):
    for entry in registry().builders.values():

        def refuse(self, a, b, task):
            raise RuntimeError(f"no {self.name}\ntoday")

        monkeypatch.setattr(entry.cls, "build", refuse)
    for which in ("all", "best"):
        status, _, err = run(*attentive, *QUICK, "--builder", which, "--out", tmp_path / "out")
        assert status == 3
        last = err.strip().splitlines()[-1]
        assert last.startswith("error: no builder connects them: ")
        assert "linear: RuntimeError: no linear today" in last
        assert not (tmp_path / "out").exists()


def test_a_builders_own_budget_goes_before_that_of_all(run, ends):
    words = [*ends, *QUICK, "--builder", "bezier", "--builder", "polychain", "--budget", "2steps", "--json"]
    report = json.loads(run(*words, "--bezier.budget", "1epochs")[1])
    assert report["builders"]["bezier"]["options"]["budget"] == "1epochs"
    assert report["builders"]["polychain"]["options"]["budget"] == "2steps"


@pytest.mark.parametrize("flag", ["--budget", "--bezier.budget"])
@pytest.mark.parametrize("typed", ["soon", "0steps", "2.5steps", "nans", ""])
def test_what_is_no_budget_is_refused_under_the_flag_as_typed(run, workspace, flag, typed):
    status, out, err = run("connect", "none", "none", "--data", "digits", "--builder", "bezier", flag, typed)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {flag}: expected a budget such as 300steps")
    assert len(err.strip().splitlines()) == 1


def test_a_budget_that_nothing_has_is_said_once(run, ends):
    status, _, err = run(*ends, *QUICK, "--budget", "3steps", "--builder", "linear")
    assert (status, err) == (0, "--budget 3steps changes nothing: linear has no budget\n")
    assert "changes nothing" not in run(*ends, *QUICK, "--budget", "3steps", "--builder", "bezier")[2]


def test_a_budget_too_small_for_a_step_is_one_line(run, ends):
    status, _, err = run(*ends, *QUICK, "--budget", "0.000001s", "--builder", "bezier")
    assert status == 0
    assert err.count("was used before the first step; the path is the straight line") == 1


def test_the_best_is_kept_and_what_was_tried_is_told(run, ends, tmp_path):
    words = [*ends, *QUICK, "--builder", "best", "--budget", "3steps"]
    status, out, _ = run(*words, "--out", tmp_path / "out")
    assert status == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    kept = report["kept"]
    assert out.startswith(kept["why"])
    assert kept["builder"] in report["builders"]
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        "best.path.safetensors", "evaluation.csv", "builders.csv", "report.json", "report.svg", "report.html"
    }  # fmt: skip
    path = ch.Path.load(tmp_path / "out" / "best.path.safetensors")
    assert path.options["best"]["why"] == kept["why"]
    assert f"{kept['builder']} *" in out
    assert json.loads(run(*words, "--json")[1])["kept"] == kept  # the same again, without a folder


def test_a_run_for_the_best_that_is_killed_goes_on_to_the_same(run, ends, tmp_path, monkeypatch):
    words = [*ends, *QUICK, "--builder", "best", "--budget", "3steps", "--out"]
    assert run(*words, tmp_path / "whole")[0] == 0
    add, left = Journal.add, [4]  # of three points each: in the middle of the second way

    def dying(self, measurements):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        add(self, measurements)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", dying)
        assert run(*words, tmp_path / "killed")[0] == 130
    assert run(*words, tmp_path / "killed")[0] == 0
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    assert {file.name for file in whole.iterdir()} == {file.name for file in killed.iterdir()}
    for name in ("evaluation.csv", "best.path.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()


def test_a_limit_is_asked_of_the_one_that_is_kept(run, ends):
    words = [*ends, *QUICK, "--builder", "best", "--budget", "3steps"]
    report = json.loads(run(*words, "--json")[1])
    barrier = report["builders"][report["kept"]["builder"]]["train"]["barrier_entezari"]
    assert run(*words, "--fail-above", repr(barrier + 1e-6))[0] == 0
    assert run(*words, "--fail-above", repr(barrier - 1e-6))[0] == 4


def test_the_best_stands_alone_and_all_takes_no_unknown_name(run):
    for words, said in (
        (["--builder", "best", "--builder", "linear"], "best chooses by itself"),
        (["--builder", "all", "--builder", "liner"], "did you mean 'linear'"),
        (["--builder", "best", "--dropout-stability.draws", "3"], "is not used"),
    ):
        status, _, err = run("connect", "none", "none", "--data", "digits", *words)
        assert status == 2
        assert said in err


def test_with_no_plugin_there_is_nothing_to_choose_from(run, monkeypatch):
    monkeypatch.setenv("CONNECTIVITY_HOOKS_NO_PLUGINS", "1")
    registry.cache_clear()
    try:
        for name in ("all", "best"):
            status, _, err = run("connect", "none", "none", "--data", "digits", "--builder", name)
            assert (status, len(err.strip().splitlines())) == (2, 1)
    finally:
        registry.cache_clear()


def test_equal_ends_are_a_flat_line(run, ends):
    words = [ends[0], ends[1], ends[1], *ends[3:]]
    report = json.loads(run(*words, *QUICK, "--builder", "best", "--json")[1])
    assert list(report["builders"]) == ["linear"]
    assert np.isclose(report["builders"]["linear"]["train"]["barrier_entezari"], 0)
