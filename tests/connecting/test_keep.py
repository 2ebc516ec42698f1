"""`ch.connect` and `ch.evaluate` with a folder to keep things in: killed, they go on to the same result."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.evaluation import evaluate as plainly
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.tasks import CachedSplit

SUPPORT = pathlib.Path(__file__).parents[1] / "support"


def test_a_path_is_kept_and_found_again(plugin, task, ends, tmp_path, equal):
    plain = ch.connect(*ends, task, builder="bend")
    steps = len(plugin.ran)
    first = ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept")
    assert len(plugin.ran) == 2 * steps
    again = ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept")
    assert len(plugin.ran) == 2 * steps
    assert equal(plain, first)
    assert equal(first, again)
    assert not [file.name for file in (tmp_path / "kept").iterdir() if "unfinished" in file.name]
    assert (again.end_points, again.builder, again.options) == (plain.end_points, plain.builder, plain.options)


def test_other_options_ends_or_data_are_another_path_beside_it(plugin, task, ends, tmp_path):
    def steps(*pair, task=task, **options):
        before = len(plugin.ran)
        ch.connect(*pair, task, builder="bend", keep=tmp_path / "kept", options={"steps": 3}, **options)
        return len(plugin.ran) - before

    targets = task.train.targets().roll(1)
    other = replace(task, train=CachedSplit("train", task.train.inputs, targets))
    ways = [(ends, {}), (ends[::-1], {}), (ends, {"seed": 1}), (ends, {"task": other})]
    assert [steps(*pair, **more) for pair, more in ways] == [3] * 4
    assert [steps(*pair, **more) for pair, more in ways] == [0] * 4
    assert len(list((tmp_path / "kept").glob("bend.*.path.safetensors"))) == 4


def test_a_builder_killed_at_any_save_goes_on_to_the_same_path(
    plugin, task, ends, tmp_path, always_due, kill_after, equal
):
    whole = ch.connect(*ends, task, builder="bend")
    expected, kept = list(plugin.ran), tmp_path / "kept"
    plugin.ran.clear()
    for _ in range(3):
        with pytest.raises(kill_after(1)):
            ch.connect(*ends, task, builder="bend", keep=kept)
    assert len(list(kept.glob(".bend.*.unfinished.builder.safetensors"))) == 1
    kill_after(0)
    path = ch.connect(*ends, task, builder="bend", keep=kept)
    assert plugin.ran == expected  # no step was done twice
    assert equal(path, whole)
    assert not list(kept.glob(".bend.*.unfinished.builder.safetensors"))


def test_a_state_of_other_options_is_not_gone_on_from(plugin, task, ends, tmp_path, always_due, kill_after):
    with pytest.raises(kill_after(1)):
        ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept")
    kill_after(0)
    plugin.ran.clear()
    ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept", options={"steps": 7})
    assert plugin.ran == list(range(1, 8))


def test_an_evaluation_is_kept_and_goes_on(task, ends, tmp_path, monkeypatch):
    path = ch.connect(*ends, task)
    whole = plainly(path, task, points=9)
    add, measured = Journal.add, []

    def dying(self, measurements):
        add(self, measurements)
        measured.append(measurements[0].t)
        if len(measured) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        ch.evaluate(path, task, points=9, keep=tmp_path)
    found = ch.evaluate(path, task, points=9, keep=tmp_path)
    assert (found.curves, found.barriers) == (whole.curves, whole.barriers)
    assert len(measured) == len(set(measured)) == len(whole.curves["train"])
    assert ch.evaluate(path, task, points=9, keep=tmp_path).curves == whole.curves
    assert len(measured) == len(whole.curves["train"])


def test_a_state_that_a_kill_right_after_the_path_left_is_removed(plugin, task, ends, tmp_path):
    ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept")
    (file,) = (tmp_path / "kept").glob("bend.*.path.safetensors")
    left = file.with_name(f".{file.name.removesuffix('.path.safetensors')}.unfinished.builder.safetensors")
    left.write_bytes(b"left")
    ch.connect(*ends, task, builder="bend", keep=tmp_path / "kept")
    assert len(plugin.ran) == 30
    assert not left.exists()


def test_another_path_is_evaluated_anew(task, ends, tmp_path):
    there, back = ch.connect(*ends, task), ch.connect(*ends[::-1], task)
    bent = replace(there, basis="bezier")
    for path in (there, back, bent):
        assert (
            ch.evaluate(path, task, points=3, refine=0, keep=tmp_path).curves
            == plainly(path, task, points=3, refine=0).curves
        )
    assert len(list(tmp_path.glob("evaluation.*.jsonl"))) == 3


def test_connect_and_evaluate_share_a_folder(plugin, task, ends, tmp_path):
    for _ in range(2):
        path = ch.connect(*ends, task, builder="bend", keep=tmp_path)
        ch.evaluate(path, task, points=3, refine=0, keep=tmp_path)
    assert len(plugin.ran) == 30
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_connect_on_the_command_line_keeps_a_builder_s_state_too(
    plugin, run, words, ends, tmp_path, always_due, kill_after
):
    out = tmp_path / "out"
    line = ["connect", *ends, *words, "--builder", "linear", "--builder", "bend", "--points", 3, "--refine", 0]
    killed = kill_after(2)
    assert issubclass(killed, KeyboardInterrupt)
    assert run(*line, "--out", out) == 130
    assert plugin.ran == list(range(1, 11))
    assert (out / ".bend.unfinished.builder.safetensors").exists()
    kill_after(0)
    assert run(*line, "--out", out) == 0
    assert plugin.ran == list(range(1, 31))
    assert not [file.name for file in out.iterdir() if file.name.startswith(".")]
    assert run(*line, "--out", tmp_path / "whole") == 0
    for name in ("bend.path.safetensors", "evaluation.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_stability_keeps_the_builder_s_state_and_then_the_path_of_the_pair_in_work(
    plugin, task, ends, tmp_path, always_due, kill_after, monkeypatch
):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    (runs / "k_00000003").mkdir(parents=True)
    for end in ends:
        (runs / "k_00000003" / end.name).write_bytes(end.read_bytes())
    how = {"points": 5, "refine": 0, "builder": "bend", "keep": kept}
    with pytest.raises(kill_after(2)):
        ch.stability_of(runs, task, **how)
    kill_after(0)
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda *given: pytest.fail("killed while it measures"))
    with pytest.raises(pytest.fail.Exception):
        ch.stability_of(runs, task, **how)
    monkeypatch.setattr(Journal, "add", add)
    found = ch.stability_of(runs, task, **how)
    assert plugin.ran == list(range(1, 31))  # quick as the last steps were, the path was worth keeping
    assert [file.name for file in kept.iterdir()] == ["k_00000003.a.b.json"]
    assert found.connections == ch.stability_of(runs, task, **{**how, "keep": None}).connections


KILLED = """
import pathlib, sys, time
import torch
sys.path[:0] = [{support!r}, {site!r}]
import bending_plugin
import connectivity_hooks as ch
from connectivity_hooks.connecting import state_file
from small_networks import mlp, vector_task

state_file._SHARE = 1e9
save = state_file.StateFile.save
place = pathlib.Path(sys.argv[1])

def slow(self, tensors, note=None):
    save(self, tensors, note)
    (place / "saved").write_text(str(note["step"]))
    while (place / "stop").exists() and note["step"] >= 15:
        time.sleep(0.01)

state_file.StateFile.save = slow
ends = [place / "a.safetensors", place / "b.safetensors"]
path = ch.connect(*ends, vector_task(lambda: mlp(12)), builder="bend", keep=place / "kept")
path.save(place / "done.path.safetensors")
(place / "run").write_text(repr(bending_plugin.ran))
"""


def test_a_builder_that_is_killed_for_real_goes_on(plugin, task, ends, tmp_path):
    for end in ends:
        (tmp_path / end.name).write_bytes(end.read_bytes())
    code = KILLED.format(support=str(SUPPORT), site=str(tmp_path / "site"))
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    (tmp_path / "stop").touch()
    process = subprocess.Popen(command, env=environment)
    saved = tmp_path / "saved"
    while process.poll() is None and not (saved.exists() and saved.read_text() == "15"):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (tmp_path / "stop").unlink()
    assert subprocess.run(command, env=environment).returncode == 0
    assert (tmp_path / "run").read_text() == repr(list(range(16, 31)))
    found, whole = ch.Path.load(tmp_path / "done.path.safetensors"), ch.connect(*ends, task, builder="bend")
    for name, tensor in whole.point(1).items():
        torch.testing.assert_close(found.point(1)[name], tensor, rtol=1e-4, atol=1e-6)  # two processes, two roundings
