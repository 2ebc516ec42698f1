"""Plugins are told once of every path that is built and of every evaluation, on every way."""

import json
import shutil

import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.evaluation.journal import Journal


def told(*builders):
    return [(kind, builder) for builder in builders for kind in ("built", "evaluated")]


def test_connect_tells_once_of_each_builder(heard, run, words, ends, tmp_path):
    both = ["connect", *ends, *words, "--builder", "linear", "--builder", "bend", "--points", 3, "--refine", 0]
    assert run(*both) == 0
    assert heard() == told("linear", "bend")
    assert run(*both, "--out", tmp_path / "out") == 0
    assert heard() == told("linear", "bend")


def test_a_resumed_connect_tells_of_what_it_did_itself(heard, run, words, ends, tmp_path, monkeypatch):
    add, count = Journal.add, [0]

    def dying(self, measurements):
        count[0] += 1
        if count[0] == 8:  # of five points each: in the middle of the second
            raise KeyboardInterrupt
        add(self, measurements)

    monkeypatch.setattr(Journal, "add", dying)
    both = ["connect", *ends, *words, "--builder", "linear", "--builder", "bend", "--points", 5, "--refine", 0]
    both += ["--out", tmp_path / "out"]
    assert run(*both) == 130
    assert heard() == [*told("linear"), ("built", "bend")]
    assert run(*both) == 0
    assert heard() == [("evaluated", "bend")]  # of the line all was measured, and told, before
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["builders"]["bend"]["build_seconds"] > 0  # the path was there, with what it had cost


@pytest.mark.parametrize("refine", [0, 2])
def test_shards_and_their_merge_tell_once_of_each_builder(heard, run, words, ends, tmp_path, refine):
    both = ["connect", *ends, *words, "--builder", "linear", "--builder", "bend", "--points", 3, "--refine", refine]
    news = []
    for shard in ("1/3", "2/3", "3/3"):
        assert run(*both, "--out", tmp_path / "out", "--shard", shard) == 0
        news += heard()
    assert news == [*told("bend"), ("built", "linear")]
    for expected in ([("evaluated", "linear")], []):
        assert run("merge", tmp_path / "out", *words[:-2]) == 0
        assert heard() == expected


def test_connect_and_evaluate_tell_once(heard, task, ends, tmp_path):
    for keep, told in ((None, ["built", "evaluated"]), (tmp_path, ["built", "evaluated"]), (tmp_path, [])):
        path = ch.connect(*ends, task, builder="bend", keep=keep)
        ch.evaluate(path, task, points=3, refine=0, keep=keep)
        assert heard() == [(kind, "bend") for kind in told]


def test_an_evaluation_that_goes_on_is_told_by_the_run_that_measures_the_rest(heard, task, ends, tmp_path):
    path = ch.connect(*ends, task, builder="bend", keep=tmp_path)
    heard()
    for points, told in ((3, 1), (17, 1), (17, 0), (3, 0)):
        ch.evaluate(path, task, points=points, refine=0, keep=tmp_path)
        assert heard() == [("evaluated", "bend")] * told


def test_of_several_processes_the_first_tells(heard, task, ends, monkeypatch):
    from connectivity_hooks.connecting import measured as procedure

    monkeypatch.setattr(procedure, "is_main_process", lambda: False)
    ch.evaluate(ch.connect(*ends, task), task, points=2, refine=0)
    assert heard() == []


def test_stability_tells_once_of_each_pair_and_nothing_of_finished_ones(heard, run, words, task, ends, tmp_path):
    place = tmp_path / "runs" / "k_00000003"
    place.mkdir(parents=True)
    for seed, end in enumerate(ends, start=1):
        shutil.copy(end, place / f"seed_{seed}.safetensors")
    model = task.factory()
    with torch.no_grad():
        model[1].bias += 1
    ch.save(model, place / "seed_3.safetensors")
    how = {"points": 3, "refine": 0, "builder": "bend", "keep": tmp_path / "kept"}
    ch.stability_of(tmp_path / "runs", task, **how)
    assert heard() == told(*["bend"] * 3)
    ch.stability_of(tmp_path / "runs", task, **how)
    assert heard() == []
    assert run("stability", tmp_path / "runs", *words, "--points", 3, "--refine", 0) == 0
    assert heard() == told(*["linear"] * 3)


def test_star_tells_once_of_each_way_and_of_kept_ones_only_what_it_did(heard, run, words, ends, tmp_path):
    hub = tmp_path / "hub.safetensors"
    assert run("hub", *words, "--effort", "quick", "--out", hub) == 0
    assert heard() == []
    star = ["star", *ends, *words, "--hub", hub, "--effort", "quick", "--pairs", "--out", tmp_path / "star"]
    assert run(*star) == 0
    assert heard() == told("certified", "certified")
    assert run(*star) == 0
    assert heard() == [("evaluated", "certified")] * 2
    (tmp_path / "star" / "a.path.safetensors").unlink()
    assert run(*star) == 0
    assert heard() == [*told("certified"), ("evaluated", "certified")]


def test_the_demo_tells_once_of_each_builder(heard, run, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    from connectivity_hooks import demo
    from connectivity_hooks.cli import demo as command

    monkeypatch.setattr(command, "train", lambda task, seed, watcher: demo.train(task, seed, watcher, epochs=1))
    monkeypatch.setattr(command, "BUILDERS", ("linear",))
    assert run("demo", "--out", tmp_path / "demo", "--device", "cpu") == 0
    assert heard() == told("linear")
