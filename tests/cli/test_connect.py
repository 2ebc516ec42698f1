"""``connect`` as a user meets it: what it writes, prints, and refuses."""

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError


def test_connect_writes_path_report_and_figures(run, ends, workspace, tmp_path):
    status, out, err = run(*ends, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "connected" in out.lower()
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"linear.path.safetensors", "evaluation.csv", "report.json", "report.svg", "report.html"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    linear = report["builders"]["linear"]
    for split in ("train", "test"):
        assert {
            "loss_max",
            "loss_min",
            "loss_mean",
            "error_max",
            "barrier_entezari",
            "barrier_frankle",
        } <= linear[split].keys()
        assert linear["bound"][split] is None
    assert {"seconds", "length"} <= linear.keys()
    assert {"checkpoints", "task", "builders", "conditions", "environment"} <= report.keys()
    digest = hashlib.sha256((workspace / "a.safetensors").read_bytes()).hexdigest()
    assert report["checkpoints"]["a"] == {"file": "a.safetensors", "sha256": digest, "dtype": "float32"}
    with open(tmp_path / "out" / "evaluation.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert max(float(row["loss"]) for row in rows if row["split"] == "train") == linear["train"]["loss_max"]


def test_the_path_file_starts_and_ends_at_the_checkpoints(run, ends, workspace, tmp_path):
    run(*ends, "--out", tmp_path)
    tensors = load_file(tmp_path / "linear.path.safetensors")
    for name, tensor in load_file(workspace / "a.safetensors").items():
        assert torch.equal(tensors[f"point.0/{name}"], tensor)
    with safe_open(tmp_path / "linear.path.safetensors", "pt") as handle:
        metadata = handle.metadata()
    assert json.loads(metadata["end_points"])[1]["file"] == "b.safetensors"
    assert metadata["builder"] == "linear"


def test_json_is_all_there_is_on_stdout(run, ends):
    status, out, err = run(*ends, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["builders"]["linear"]["train"]["loss_max"] > 0
    assert not any(ord(sign) < 32 for sign in out.rstrip("\n"))


def test_no_bars_are_drawn_where_nobody_looks_whatever_colours_are_asked_for(run, ends, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(*ends)[2] == ""


def test_a_limit_that_is_not_met_is_status_4(run, ends):
    assert run(*ends, "--fail-above", "1e-9")[0] == 4
    assert run(*ends, "--fail-above", "1e9")[0] == 0


def test_conditions_of_both_ends_come_into_the_report(run, ends):
    report = json.loads(run(*ends, "--json", "--condition", "separability", "--separability.draws", "2")[1])
    assert list(report["conditions"]) == ["A: a.safetensors", "B: b.safetensors"]
    assert report["conditions"]["A: a.safetensors"][0]["layer"] == "3"


@pytest.fixture
def masks(workspace, tmp_path):
    """Return options of a task with three real targets for each sample."""
    with np.load(workspace / "data.npz") as data:
        arrays = {name: np.eye(3, dtype=np.float32)[y] if name[0] == "y" else y for name, y in data.items()}
    np.savez(tmp_path / "masks.npz", **arrays)
    return ["--model", f"{workspace}/net.py:make", "--data", tmp_path / "masks.npz", "--loss", "bce"]


def test_a_condition_that_cannot_be_measured_spoils_no_other(run, workspace, masks):
    asked = ["--condition", "separability", "--condition", "feature-rank"]
    status, out, err = run("check", workspace / "a.safetensors", *masks, *asked, "--json")
    verdicts = json.loads(out)["conditions"]
    assert (status, err) == (4, "")
    assert (verdicts[0]["condition"], verdicts[0]["status"]) == ("separability", "invalid")
    assert "class labels" in verdicts[0]["reason"]
    assert {verdict["condition"] for verdict in verdicts[1:]} == {"feature-rank"}
    assert all(verdict["measured"] is not None for verdict in verdicts[1:])

    status, out, err = run(
        "connect", workspace / "a.safetensors", workspace / "b.safetensors", *masks, *asked, "--json"
    )
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert "linear" in report["builders"]
    for verdicts in report["conditions"].values():
        assert [verdict["status"] == "invalid" for verdict in verdicts] == [True] + [False] * (len(verdicts) - 1)


def test_ends_of_which_no_layer_can_be_looked_at_are_connected_all_the_same(run, ends, monkeypatch):
    def nothing(*_, **__):
        raise UsageError("layers that cannot be looked at: all")

    monkeypatch.setattr("connectivity_hooks.cli.connect.observe", nothing)
    status, out, _ = run(*ends, "--json", "--condition", "separability")
    assert status == 0
    for verdicts in json.loads(out)["conditions"].values():
        assert [(verdict["status"], verdict["reason"]) for verdict in verdicts] == [
            ("invalid", "layers that cannot be looked at: all")
        ]


def test_batch_norm_can_be_re_estimated(run, ends):
    stored, fresh = (
        json.loads(run(*ends, "--json", "--correct", how)[1])["builders"]["linear"] for how in ("none", "batch-norm")
    )
    assert fresh["correction"] == "batch-norm"
    assert fresh["train"]["loss_max"] != stored["train"]["loss_max"]


def test_batch_norm_is_re_estimated_with_any_batch_size(run, ends):
    status, out, _ = run(
        *ends, "--json", "--correct", "batch-norm", "--batch-size", "1", "--points", "2", "--refine", "0"
    )
    assert status == 0
    assert json.loads(out)["builders"]["linear"]["correction"] == "batch-norm"


def test_identical_ends_have_no_barrier_and_a_valid_report(run, ends, workspace, tmp_path):
    ends[2] = ends[1]
    status, out, _ = run(*ends, "--json", "--out", tmp_path)
    assert status == 0
    assert json.loads(out)["builders"]["linear"]["train"]["barrier_entezari"] == 0
    assert (tmp_path / "report.html").exists()


def test_the_model_may_be_left_out_when_the_checkpoint_names_an_installed_library(run, ends, workspace, tmp_path):
    import timm

    for name in ("a", "b"):
        ch.save(
            timm.create_model("resnet18", num_classes=3, in_chans=1),
            tmp_path / name,
            task="timm:resnet18?num_classes=3&in_chans=1",
        )
    status, out, err = run(
        "connect",
        tmp_path / "a",
        tmp_path / "b",
        "--data",
        workspace / "data.npz",
        "--json",
        "--points",
        2,
        "--refine",
        0,
    )
    assert (status, err) == (0, "")
    assert json.loads(out)["task"]["model"] == "timm:resnet18?num_classes=3&in_chans=1"


def test_a_checkpoint_never_makes_us_import_code(run, ends, workspace, tmp_path):
    weights = load_file(workspace / "a.safetensors")
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): pass\n")
    save_file(weights, tmp_path / "a.safetensors", {"connectivity_hooks.task": f"{evil}:make"})
    a = tmp_path / "a.safetensors"
    status, _, err = run("connect", a, a, "--data", workspace / "data.npz")
    assert status == 2
    assert "say --model" in err
    assert not (tmp_path / "ran").exists()


REFUSED = {
    "missing file": (lambda folder: folder / "nothing.safetensors", "cannot be read"),
    "empty": (lambda folder: write(folder / "x.safetensors", b""), "is empty"),
    "truncated": (
        lambda folder: write(folder / "x.safetensors", (folder / "good").read_bytes()[:-7]),
        "truncated",
    ),
    "text": (
        lambda folder: write(folder / "x.safetensors", b"hello there, this is no checkpoint"),
        "not a safetensors",
    ),
    "pickle": (lambda folder: pickled(folder), "connectivity-hooks convert"),
    "folder": (lambda folder: folder, "name the file"),
    "other keys": (
        lambda folder: other(folder, lambda w: {"x" + k: v for k, v in w.items()}),
        "9 missing: 1.weight",
    ),
    "one key": (
        lambda folder: other(folder, lambda w: {k: v for k, v in w.items() if k != "4.bias"}),
        "1 missing: 4.bias",
    ),
    "one shape": (
        lambda folder: other(folder, lambda w: {**w, "4.bias": torch.zeros(5)}),
        "expected (3,), found (5,)",
    ),
    "nan": (
        lambda folder: other(folder, lambda w: {**w, "4.bias": torch.full((3,), torch.nan)}),
        "4.bias holds 3 NaN",
    ),
    "float8": (
        lambda folder: other(folder, lambda w: {**w, "4.bias": torch.zeros(3).to(torch.float8_e4m3fn)}),
        "F8_E4M3",
    ),
}


def write(file, content):
    file.write_bytes(content)
    return file


def pickled(folder):
    torch.save({"w": torch.ones(2)}, folder / "x.safetensors")
    return folder / "x.safetensors"


def other(folder, change):
    save_file(change(load_file(folder / "good")), folder / "x.safetensors")
    return folder / "x.safetensors"


@pytest.mark.parametrize("case", REFUSED)
def test_bad_checkpoints_are_refused_in_one_line_and_nothing_is_written(run, ends, workspace, tmp_path, case):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good").write_bytes((workspace / "a.safetensors").read_bytes())
    make, words = REFUSED[case]
    ends[2] = make(tmp_path / "in")
    status, out, err = run(*ends, "--out", tmp_path / "out")
    assert (status, out) == (3, "")
    assert err.count("\n") == 1
    assert str(ends[2]) in err
    assert words in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_train": [7] * 200}, "labels lie in [7, 7], the model has 3 outputs"),
        ({"y_train": [-1] * 200}, "labels lie in [-1, -1]"),
        ({"x_train": "wide", "x_test": "wide"}, "do not fit the model"),
        ({"x_train": "wide"}, "training inputs have shape (1, 6, 7), test inputs (1, 6, 6)"),
        ({"x_train": "empty", "y_train": []}, "no samples"),
        ({"y_train": [0] * 5}, "200 inputs and 5 targets"),
        ({"x_test": None}, "y_test alone"),
        ({"x_train": None}, "no array 'x_train'"),
        ({"x_train": "nan"}, "NaN or Inf"),
    ],
)
def test_bad_data_is_refused_in_one_line(run, ends, workspace, tmp_path, change, words):
    import numpy as np

    arrays = dict(np.load(workspace / "data.npz"))
    special = {
        "wide": np.zeros((200, 1, 6, 7)),
        "empty": np.zeros((0, 1, 6, 6)),
        "nan": np.full((200, 1, 6, 6), np.nan),
    }
    for name, value in change.items():
        if value is None:
            del arrays[name]
            continue
        made = special[value] if isinstance(value, str) else np.array(value, dtype=np.int64)
        arrays[name] = made[: len(arrays[name])] if name == "x_test" else made
    np.savez(tmp_path / "bad.npz", **arrays)
    ends[6] = tmp_path / "bad.npz"
    status, _, err = run(*ends, "--out", tmp_path / "out")
    assert status == 3
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("net.py:mak", 2, "has no 'mak'; did you mean 'make'"),
        ("net.py:notamodule", 3, "expected an nn.Module"),
        ("net.py:broken", 3, "fails: RuntimeError: no such luck second line"),
        ("nothing.py:make", 3, "no such file"),
        ("net.py", 2, "expected PREFIX:NAME"),
        ("net.py:make?width", 2, "argument=value"),
        ("net.py:make?wdith=3", 3, "wdith"),
        ("tim:resnet18", 2, "did you mean 'timm'"),
    ],
)
def test_bad_models_are_refused_in_one_line(run, ends, workspace, name, status, words):
    ends[4] = f"{workspace}/{name}" if name.startswith(("net", "nothing")) else name
    found, _, err = run(*ends)
    assert found == status
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--builder", "liner"], "unknown builder 'liner'; did you mean 'linear'?"),
        (["--condition", "seperability"], "did you mean 'separability'?"),
        (["--align", "weight-matchin"], "unknown aligner 'weight-matchin'; did you mean 'weight-matching'"),
        (["--loss", "cross-entrop"], "did you mean 'cross-entropy'?"),
        (
            ["--condition", "separability", "--separability.fraction", "1.5"],
            "expected float > 0 ≤ 1, found 1.5",
        ),
        (["--separability.fraction", "0.5"], "separability is not used"),
        (["--seperability.fraction", "0.5"], "--seperability.fraction"),
        (["--dtype", "float31"], "did you mean 'float32'"),
        (["--device", "warp"], "--device warp"),
        (["--normalize", "1,2,3"], "--normalize"),
        (["--normalize", "0,nan"], "--normalize"),
        (["--fail-above", "nan"], "not a finite number"),
    ],
)
def test_unknown_names_and_options_are_wrong_usage_with_near_matches(run, ends, flags, words):
    status, _, err = run(*ends, *flags)
    assert status == 2
    assert words in err


def test_half_precision_ends_are_connected_in_float32_and_said(run, ends, workspace, tmp_path):
    for index, name in ((1, "a"), (2, "b")):
        weights = load_file(workspace / f"{name}.safetensors")
        half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in weights.items()}
        save_file(half, tmp_path / f"{name}.safetensors")
        ends[index] = tmp_path / f"{name}.safetensors"
    status, _, err = run(*ends, "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert status == 0
    assert "a.safetensors: stored as bfloat16, the path is in float32" in err
    assert report["checkpoints"]["b"]["dtype"] == "bfloat16"
    start = load_file(tmp_path / "out" / "linear.path.safetensors")["point.0/4.weight"]
    assert torch.equal(start, load_file(tmp_path / "a.safetensors")["4.weight"].float())


def test_two_runs_into_one_folder_are_refused(run, ends, tmp_path):
    from connectivity_hooks.cli.folder import OutputFolder

    with OutputFolder(tmp_path / "out"):
        status, _, err = run(*ends, "--out", tmp_path / "out")
    assert status == 3
    assert "another run is writing" in err
    assert run(*ends, "--out", tmp_path / "out")[0] == 0


STOPPING = """
import pathlib, time
from torch import nn

place = pathlib.Path(__file__).parent

class Stopping(nn.Sequential):
    def forward(self, x):
        while (place / "stop").exists() and len(x) > 2 and journaled() >= 5:
            (place / "stopped").touch()
            time.sleep(0.01)
        return super().forward(x)

def journaled():
    return sum(file.read_text().count("\\n") for file in (place / "out").glob(".*.jsonl"))

def make():
    return Stopping(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_keeps_what_was_finished_and_goes_on(run, ends, tmp_path, number, status):
    (tmp_path / "net.py").write_text(STOPPING)
    (tmp_path / "stop").touch()
    model = ["--model", f"{tmp_path}/net.py:make"]
    words = [str(word) for word in (*ends[1:3], *model, *ends[5:], "--points", "30", "--refine", "0")]
    program = [sys.executable, "-c", "from connectivity_hooks.cli import connect; connect()"]
    process = subprocess.Popen([*program, *words, "--out", tmp_path / "out"], stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out" / ".linear.measured.jsonl"
    while process.poll() is None and not (tmp_path / "stopped").exists():  # it stands still there, however slow it is
        time.sleep(0.01)
    process.send_signal(number)
    (tmp_path / "stop").unlink()
    _, err = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in err
    finished = journal.read_text().count("\n")
    assert finished >= 5
    assert not (tmp_path / "out" / "report.json").exists()
    assert (tmp_path / "out" / "linear.path.safetensors").exists()
    before = (tmp_path / "out" / "linear.path.safetensors").stat().st_mtime_ns
    assert run("connect", *words, "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "linear.path.safetensors").stat().st_mtime_ns == before
    run("connect", *words, "--out", tmp_path / "whole")
    assert (tmp_path / "out" / "evaluation.csv").read_text() == (tmp_path / "whole" / "evaluation.csv").read_text()
    assert not journal.exists()


def test_data_that_changed_under_one_name_is_measured_anew(workspace):
    import numpy as np

    from connectivity_hooks.connecting.subject import data_digest

    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    arrays = dict(np.load(workspace / "data.npz"))
    arrays["y_train"] = arrays["y_train"][::-1].copy()
    np.savez(workspace / "other.npz", **arrays)
    other = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "other.npz"))
    assert data_digest(task) == data_digest(task)
    assert data_digest(task) != data_digest(other)


def test_sharded_checkpoints_connect(run, ends, workspace, tmp_path):
    weights = load_file(workspace / "a.safetensors")
    names = sorted(weights)
    shards = {"one.safetensors": names[:4], "two.safetensors": names[4:]}
    for shard, kept in shards.items():
        save_file({name: weights[name] for name in kept}, tmp_path / shard)
    index = {"weight_map": {name: shard for shard, kept in shards.items() for name in kept}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    ends[1] = tmp_path / "model.safetensors.index.json"
    assert run(*ends)[0] == 0


def test_no_plugins_leaves_no_builder(workspace, ends):
    words = list(map(str, ends[1:]))
    program = [sys.executable, "-c", "from connectivity_hooks.cli import connect; connect()"]
    refused = subprocess.run([*program, *words, "--no-plugins"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "unknown builder 'linear'" in refused.stderr
    helped = subprocess.run([*program, "--no-plugins", "--help"], capture_output=True, text=True)
    assert helped.returncode == 0
    assert "--builder" in helped.stdout
    assert "--separability" not in helped.stdout
