"""The other commands."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import connectivity_hooks as ch
from connectivity_hooks.cli.group import COMMANDS


@pytest.fixture
def look(workspace):
    return [
        "check",
        workspace / "a.safetensors",
        "--model",
        f"{workspace}/net.py:make",
        "--data",
        workspace / "data.npz",
    ]


def test_check_prints_a_line_for_each_layer(run, look):
    status, out, _ = run(*look, "--condition", "feature-rank", "--layers", "1", "--layers", "3")
    assert status in (0, 4)
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [
        ["feature-rank", "1"],
        ["feature-rank", "3"],
    ]


def test_check_exits_with_4_when_a_condition_does_not_hold(run, look):
    words = ["--condition", "feature-rank", "--json"]
    status, out, _ = run(*look, *words, "--feature-rank.least", "0")
    assert (status, json.loads(out)["conditions"][0]["status"]) == (0, "holds")
    status, out, _ = run(*look, *words, "--feature-rank.least", "1", "--layers", "3", "--samples", "10")
    found = json.loads(out)["conditions"][0]
    assert (status == 0) == (found["status"] == "holds")
    assert found["details"]["samples"] == 10


def test_check_names_an_unknown_layer(run, look):
    status, _, err = run(*look, "--condition", "separability", "--layers", "33")
    assert status == 2
    assert "no layer '33'" in err


def test_sample_writes_a_checkpoint_between_the_ends(run, ends, workspace, tmp_path):
    run(*ends, "--out", tmp_path)
    mid = tmp_path / "mid.safetensors"
    assert run("sample", tmp_path / "linear.path.safetensors", "-t", 0.25, "-o", mid)[0] == 0
    a, b = (load_file(workspace / f"{name}.safetensors") for name in "ab")
    torch.testing.assert_close(load_file(mid)["4.weight"], 0.75 * a["4.weight"] + 0.25 * b["4.weight"])
    assert load_file(mid)["2.num_batches_tracked"] == a["2.num_batches_tracked"]
    half = tmp_path / "half.safetensors"
    assert run("sample", tmp_path / "linear.path.safetensors", "-t", 1, "-o", half, "--dtype", "bfloat16")[0] == 0
    assert torch.equal(load_file(half)["4.weight"], b["4.weight"].bfloat16())


def test_sample_refuses_what_is_no_path(run, workspace, tmp_path):
    status, _, err = run("sample", workspace / "a.safetensors", "-t", 0.5, "-o", tmp_path / "x")
    assert status == 3
    assert "not a path file" in err
    assert run("sample", workspace / "a.safetensors", "-t", 1.5, "-o", tmp_path / "x")[0] == 2


def test_convert_makes_a_checkpoint_of_a_pickle(run, workspace, tmp_path):
    weights = load_file(workspace / "a.safetensors")
    torch.save({"state_dict": {f"net.{k}": v for k, v in weights.items()}, "epoch": 3}, tmp_path / "a.ckpt")
    assert run("convert", tmp_path / "a.ckpt", tmp_path / "a.safetensors", "--prefix", "net.")[0] == 0
    assert all(torch.equal(v, weights[k]) for k, v in load_file(tmp_path / "a.safetensors").items())


def test_report_is_made_again_from_its_data(run, ends, tmp_path):
    run(*ends, "--out", tmp_path)
    files = [tmp_path / "report.html", tmp_path / "report.svg"]
    written = [file.read_text(encoding="utf-8") for file in files]
    for file in files:
        file.unlink()
    assert run("report", tmp_path)[0] == 0
    assert [file.read_text(encoding="utf-8") for file in files] == written


def test_report_refuses_a_folder_without_one(run, tmp_path):
    status, _, err = run("report", tmp_path)
    assert status == 3
    assert "no finished report" in err


HUGE = 10**400
SPOILED = {
    "cut short": ("report.json", lambda raw: raw[:-50]),
    "no UTF-8": ("report.json", lambda raw: b"\xff" + raw),
    "nested": ("report.json", lambda raw: b"[" * 100_000),
    "a number": ("report.json", lambda raw: raw.replace(b'"builders": {', b'"builders": 3, "x": {')),
    "no conclusion": ("report.json", lambda raw: raw.replace(b'"train": {', b'"train": 3, "x": {')),
    "a text for a number": ("report.json", lambda raw: raw.replace(b'"error_max": 0', b'"error_max": "x", "y": 0')),
    "a huge number": ("report.json", lambda raw: raw.replace(b'"error_max": 0', b'"error_max": %d, "y": 0' % HUGE)),
    "a short row": ("evaluation.csv", lambda raw: raw + b"linear,0.5\n"),
    "a long row": ("evaluation.csv", lambda raw: raw.rstrip() + b",1\n"),
    "a huge field": ("evaluation.csv", lambda raw: raw + b"x" * 200_000 + b",0.5\n"),
    "a nul": ("evaluation.csv", lambda raw: raw + b"\0\n"),
    "other columns": ("evaluation.csv", lambda raw: raw.replace(b"loss", b"los", 1)),
    "a t beside the path": ("evaluation.csv", lambda raw: raw.replace(b"linear,0.0,", b"linear,7.0,", 1)),
    "a t that is none": ("evaluation.csv", lambda raw: raw.replace(b"linear,0.0,", b"linear,nan,", 1)),
    "no table": ("evaluation.csv", lambda raw: b""),
}


@pytest.fixture(scope="module")
def reported(workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    path = ch.connect(workspace / "a.safetensors", workspace / "b.safetensors", task)
    ch.evaluate(path, task, points=3, refine=0).save(folder)
    return folder


@pytest.mark.parametrize(("name", "spoil"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_report_is_refused_or_drawn_as_far_as_it_goes(run, reported, tmp_path, name, spoil):
    folder = shutil.copytree(reported, tmp_path / "report")
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(spoil(raw))
    assert (folder / name).read_bytes() != raw
    status, _, err = run("report", folder)
    assert (status, err.count("\n")) in ((3, 1), (0, 0))
    assert "Traceback" not in err
    if name == "evaluation.csv":
        assert status == 3


def test_plugins_lists_name_kind_version_origin_and_options(run):
    status, out, _ = run("plugins", "--json")
    methods = {method["name"]: method for method in json.loads(out)["methods"]}
    assert status == 0
    assert {"linear", "separability", "feature-rank", "timm"} <= methods.keys()
    assert methods["separability"]["distribution"] == "connectivity-hooks"
    assert methods["separability"]["options"][0]["flag"] == "--separability.fraction"
    status, out, _ = run("plugins")
    assert "--separability.fraction" in out
    assert "connectivity_hooks_theorem" in out


def test_the_demo_ends_with_a_report_and_checkpoints_that_connect(run, tmp_path):
    status, out, err = run("demo", "--out", tmp_path / "demo")
    assert status == 0
    assert "epoch 30" in err
    assert (tmp_path / "demo" / "report.html").exists()
    assert "Not connected by the linear path" in out
    assert "Connected, and proven: along the certified path" in out
    a, b = (tmp_path / "demo" / f"{name}.safetensors" for name in "ab")
    model = "connectivity_hooks.demo:network"
    status, out, _ = run("connect", a, b, "--model", model, "--data", "digits", "--json")
    figures = json.loads(out)["builders"]["linear"]["train"]
    assert status == 0
    assert figures["barrier_entezari"] > 0.1
    assert max(figures["error_ends"]) < 0.01


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert len(out) > 200


def test_an_unknown_command_is_wrong_usage_with_a_near_match(run):
    status, _, err = run("conect")
    assert status == 2
    assert "did you mean 'connect'" in err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", "1" + "0" * 30),
        ("--seed", "-1" + "0" * 30),
        ("--batch-size", "1" + "0" * 30),
        ("--points", "10000000000"),
        ("--refine", "9" * 5000),
        ("--fail-above", "nan"),
        ("--fail-above", "1e400"),
    ],
)
def test_a_number_that_nothing_can_be_done_with_is_wrong_usage(run, ends, flag, value):
    status, _, err = run(*ends, flag, value)
    assert status == 2
    assert flag in err


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("builders", [], "builders is a list, expected an object"),
        ("conditions", None, "conditions is null, expected an object"),
        ("builders", {"linear": 3}, "does not hold what a finished report does"),
        ("conditions", {"A": [3]}, "does not hold what a finished report does"),
    ],
)
def test_a_damaged_report_is_named_in_our_own_words(run, ends, tmp_path, field, value, words):
    run(*ends, "--out", tmp_path, "--points", 3, "--refine", 0)
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    status, _, err = run("report", tmp_path)
    assert (status, err.count("\n")) == (3, 1)
    assert f"report.json: {words}" in err
    assert "has no attribute" not in err


def test_convert_asks_which_of_two_sets_of_weights_is_meant(run, tmp_path):
    trained, averaged = ({"w": torch.full((2,), value)} for value in (1.0, 2.0))
    torch.save({"model": trained, "model_ema": averaged}, tmp_path / "x.pt")
    status, _, err = run("convert", tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert status == 3
    assert "model (trained), model_ema (averaged); say which with --key, the same for both ends of a path" in err
    assert not (tmp_path / "x.safetensors").exists()
    assert run("convert", tmp_path / "x.pt", tmp_path / "x.safetensors", "--key", "model_ema")[0] == 0
    assert torch.equal(load_file(tmp_path / "x.safetensors")["w"], averaged["w"])
