"""`simplex`, `simplex-sample` and `simplex-route`: from checkpoints to a volume, and out of it again."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_networks import NETWORK, exact, mlp, trained, vector_task

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read, write_tensors
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks_curves.simplex.commands.simplex import FILE
from connectivity_hooks_curves.simplex.file import read_complex

SUPPORT = pathlib.Path(__file__).parents[3] / "support"


def run(*words):
    return exit_status("connectivity-hooks", lambda: group, [str(word) for word in words])


@pytest.fixture(scope="module")
def task():
    return vector_task(lambda: mlp(12))


@pytest.fixture
def files(task, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    found = []
    for seed, name in enumerate("abc"):
        found.append(tmp_path / f"{name}.safetensors")
        model = task.factory()
        model.load_state_dict(trained(task, seed, steps=60))
        ch.save(model, found[-1])
    return found


def flags(tmp_path):
    return ["--model", f"{tmp_path}/net.py:make", "--data", f"{tmp_path}/net.py:data", "--device", "cpu"]


def simplex(files, tmp_path, *further, out="out"):
    return run("simplex", *files, *flags(tmp_path), "--budget", "40steps", "--out", tmp_path / out, *further)


def test_a_volume_is_trained_measured_sampled_and_walked(files, task, tmp_path, capfd):
    assert simplex(files, tmp_path, "--simplex.lr", 0.01, "--draws", 10, "--json", "--seed", 3) == 0
    content = json.loads(capfd.readouterr().out)
    out = tmp_path / "out"
    assert sorted(file.name for file in out.iterdir()) == ["simplex.json", FILE]
    assert json.loads((out / "simplex.json").read_text()) == content
    names = ["a.safetensors", "b.safetensors", "c.safetensors", "connector 1", "connector 2"]
    assert [row["name"] for row in content["vertices"]] == names
    assert content["simplices"] == [[name, *names[3:]] for name in names[:3]]
    found = read_complex(out / FILE)
    assert content["volume"]["log"] == found.log_volume
    assert content["training"]["steps"] == 40
    assert content["options"]["connectors"] == 2

    assert run("simplex-sample", out / FILE, "--draws", 10, "--seed", 3, "--out", tmp_path / "drawn") == 0
    drawn = [read(tmp_path / "drawn" / f"draw-3-{number}.safetensors").weights for number in range(10)]
    for split in task.splits():
        losses = [exact(task, weights, split)[1] for weights in drawn]
        figures = content["draws"]["splits"][split.name]["loss"]
        assert figures["max"] == pytest.approx(max(losses), rel=1e-4)
        assert figures["mean"] == pytest.approx(sum(losses) / 10, rel=1e-4)
        assert figures["quantile"] == pytest.approx(float(torch.tensor(losses).quantile(0.95)), rel=1e-4)
        for row, weights in zip(content["vertices"], found.weights, strict=True):
            assert row[split.name]["loss"] == pytest.approx(exact(task, weights, split)[1], rel=1e-4)

    path = tmp_path / "r.path.safetensors"
    assert run("simplex-route", out / FILE, "--from", 2, "--to", 3, "-o", path) == 0
    assert run("verify", path, *flags(tmp_path), "--checkpoint", files[1], "--checkpoint", files[2]) == 0
    assert run("sample", path, "-t", 0.5, "-o", tmp_path / "middle.safetensors") == 0
    middle = (found.weights[3]["1.weight"] + found.weights[4]["1.weight"]) / 2
    torch.testing.assert_close(read(tmp_path / "middle.safetensors").weights["1.weight"], middle)


def test_given_weights_are_the_first_checkpoint_in_its_own_type(files, tmp_path):
    half = tmp_path / "half.safetensors"
    write_tensors(half, read(files[0]).weights, {"format": "pt"}, dtype=torch.bfloat16)
    assert simplex([half, files[1]], tmp_path, "--draws", 1) == 0
    volume = tmp_path / "out" / FILE
    assert run("simplex-sample", volume, "--weights", "1,0,0,0", "--out", tmp_path / "drawn") == 0
    assert run("simplex-sample", volume, "--out", tmp_path / "drawn") == 0
    expected = read(half).weights
    found = read(tmp_path / "drawn" / "weights.safetensors")
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.items())
    assert json.loads(found.metadata["connectivity_hooks.sample"])["vertices"] == [1, 3, 4]
    drawn = read(tmp_path / "drawn" / "draw-0-0.safetensors").weights
    assert {name: (t.shape, t.dtype) for name, t in drawn.items()} == {
        n: (t.shape, t.dtype) for n, t in expected.items()
    }


def test_checkpoints_are_aligned_first(files, tmp_path, capfd):
    assert simplex(files, tmp_path, "--align", "weight-matching", "--draws", 2) == 0
    assert "was replaced by an equal copy aligned to a.safetensors" in capfd.readouterr().out
    volume = tmp_path / "out" / FILE
    assert [vertex.alignment is None for vertex in read_complex(volume).vertices] == [True, False, False, True, True]
    assert run("simplex-route", volume, "-o", tmp_path / "r.path.safetensors") == 0
    ends = ["--checkpoint", files[0], "--checkpoint", files[1]]
    assert run("verify", tmp_path / "r.path.safetensors", *flags(tmp_path), *ends) == 0


def test_batch_norm_is_measured_anew_at_every_draw(tmp_path, capfd):
    (tmp_path / "net.py").write_text(NETWORK.replace("return mlp(12)", "return normed()") + NORMED)
    sys.modules.pop("net", None)
    scope: dict = {}
    exec(NORMED, scope)
    task = vector_task(scope["normed"])
    files = []
    for seed, name in enumerate("ab"):
        model = task.factory().train()
        model.load_state_dict(trained(task, seed, steps=60))
        files.append(tmp_path / f"{name}.safetensors")
        ch.save(model, files[-1])
    losses = {}
    for correct in ("none", "batch-norm"):
        assert simplex(files, tmp_path, "--correct", correct, "--draws", 6, "--json", out=correct) == 0
        losses[correct] = json.loads(capfd.readouterr().out)["draws"]["splits"]["train"]["loss"]["max"]
    assert losses["batch-norm"] < losses["none"]
    volume, words = tmp_path / "none" / FILE, [*flags(tmp_path), "--correct", "batch-norm"]
    assert run("simplex-sample", volume, *words, "--out", tmp_path / "new") == 0
    assert run("simplex-sample", volume, "--out", tmp_path / "old") == 0
    new, old = (read(tmp_path / name / "draw-0-0.safetensors").weights for name in ("new", "old"))
    assert torch.equal(new["1.weight"], old["1.weight"])
    assert not torch.allclose(new["2.running_mean"], old["2.running_mean"])


NORMED = """
def normed():
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
"""


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda files, folder: files[:1], 3, "one checkpoint; expected two or more"),
        (
            lambda files, folder: [files[0], files[1], files[0]],
            3,
            "checkpoints 1 and 3 are equal in all that is trained",
        ),
        (lambda files, folder: [files[0], folder / "net.py"], 3, "net.py"),
        (lambda files, folder: [files[0], other(folder)], 3, "does not fit the model"),
        (lambda files, folder: [*files[:2], "--budget", "5x"], 2, "expected a budget such as"),
        (lambda files, folder: [*files[:2], "--connectors", "0"], 2, "--simplex.connectors: expected int ≥ 1"),
        (lambda files, folder: [*files[:2], "--connectors", "3", "--simplex.connectors", "4"], 2, "are both given"),
        (lambda files, folder: [*files[:2], "--correct", "repair"], 2, "a volume has more"),
        (lambda files, folder: [*files[:2], "--bezier.lr", "1"], 2, "No such option '--bezier.lr'"),
        (lambda files, folder: [*files[:2], "--weight-matching.sweeps", "3"], 2, "weight-matching is not used"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(files, tmp_path, capfd, change, status, words):
    given = change(files, tmp_path)
    budget = [] if "--budget" in given else ["--budget", "2steps"]
    assert run("simplex", *given, *flags(tmp_path), *budget, "--out", tmp_path / "out") == status
    said = capfd.readouterr().err.strip().splitlines()
    assert words in said[-1]
    assert len(said) == 1 or status == 2
    assert not (tmp_path / "out").exists()


def other(folder):
    ch.save(mlp(13), folder / "other.safetensors")
    return folder / "other.safetensors"


def test_a_budget_that_is_too_small_is_said(files, tmp_path, capfd):
    words = ["simplex", *files[:2], *flags(tmp_path), "--budget", "0.000001s", "--draws", 1, "--out", tmp_path / "out"]
    assert run(*words) == 0
    assert "was used before the first step; the connectors are around the middle" in capfd.readouterr().err


def test_files_that_are_no_volumes_are_refused(files, tmp_path, capfd):
    assert run("simplex-sample", files[0], "--out", tmp_path / "drawn") == 3
    assert "not a simplex file" in capfd.readouterr().err
    assert run("simplex-route", files[0], "-o", tmp_path / "r.path.safetensors") == 3
    assert "not a simplex file" in capfd.readouterr().err
    assert not (tmp_path / "drawn").exists()


KILLED = """
import pathlib, sys, time
sys.path[:0] = [{support!r}]
from connectivity_hooks.connecting import state_file
from connectivity_hooks.evaluation import journal

state_file._SHARE = 1e9  # due after every step
save, add, place = state_file.StateFile.save, journal.Journal.add, pathlib.Path(sys.argv.pop(1))

def stopping(word):
    (place / "done").open("a").write(f"{{word}}\\n")
    while (place / f"stop at {{word}}").exists():
        time.sleep(0.01)

def slow_save(self, tensors, note=None):
    save(self, tensors, note)
    stopping(f"step {{note['step']}}")

def slow_add(self, measurements):
    add(self, measurements)
    stopping("measured")

state_file.StateFile.save, journal.Journal.add = slow_save, slow_add
from connectivity_hooks.cli import main
main()
"""


def test_a_command_that_is_killed_in_training_and_in_measuring_goes_on(files, tmp_path):
    words = ["simplex", *files[:2], *flags(tmp_path), "--budget", "9steps", "--draws", 3, "--out"]
    program = [sys.executable, "-c", KILLED.format(support=str(SUPPORT)), tmp_path, *words]
    command = [str(word) for word in program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for stop in ("step 4", "measured"):
        (tmp_path / f"stop at {stop}").touch()
        process = subprocess.Popen([*command, str(tmp_path / "out")], env=environment, stderr=subprocess.DEVNULL)
        done = tmp_path / "done"
        while process.poll() is None and not (done.exists() and done.read_text().endswith(f"{stop}\n")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        (tmp_path / f"stop at {stop}").unlink()
    assert subprocess.run([*command, str(tmp_path / "out")], env=environment, capture_output=True).returncode == 0
    done = (tmp_path / "done").read_text().split("\n")
    assert done[:-1] == [*(f"step {step}" for step in range(1, 10)), *["measured"] * (4 + 3)]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["simplex.json", FILE]
    assert run(*words, tmp_path / "whole") == 0
    found, whole = (read_complex(tmp_path / name / FILE) for name in ("out", "whole"))
    for own, there in zip(found.weights, whole.weights, strict=True):
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, there[name], rtol=1e-4, atol=1e-6)  # two processes, two roundings
    report, other = (json.loads((tmp_path / name / "simplex.json").read_text()) for name in ("out", "whole"))
    assert report["draws"]["splits"]["test"]["loss"] == pytest.approx(
        other["draws"]["splits"]["test"]["loss"], rel=1e-3
    )
    assert report["training"]["steps"] == 9
