"""``sample --correct``: what is written is what was measured, and flags that do nothing are refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import connectivity_hooks as ch
from connectivity_hooks.paths import Path


@pytest.fixture(scope="module")
def path(workspace, tmp_path_factory):
    file = tmp_path_factory.mktemp("path") / "linear.path.safetensors"
    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    ch.connect(workspace / "a.safetensors", workspace / "b.safetensors", task).save(file)
    return file


def test_corrected_weights_hold_the_statistics_of_the_data_at_that_t(run, ends, workspace, path, tmp_path):
    words = ["sample", path, "-t", 0.5, "-o", tmp_path / "mid.safetensors", *ends[3:], "--correct", "batch-norm"]
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (0, 1)
    assert "t = 0.5 of linear.path.safetensors, corrected by batch-norm" in err
    found, own = load_file(tmp_path / "mid.safetensors"), Path.load(path)(0.5)
    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    hidden = task.train.inputs.flatten(1).double() @ own["1.weight"].double().T + own["1.bias"].double()
    torch.testing.assert_close(found["2.running_mean"].double(), hidden.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["2.running_var"].double(), hidden.var(0), rtol=1e-4, atol=1e-5)
    unchanged = own.keys() - {"2.running_mean", "2.running_var"}
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in unchanged)
    with safe_open(tmp_path / "mid.safetensors", "pt") as opened:
        origin = json.loads(opened.metadata()["connectivity_hooks.sample"])
    assert origin["correction"] == "batch-norm"
    assert origin["correction_options"] == {"samples": 16384, "seed": 0}


def test_the_sample_loses_what_was_measured_there(run, ends, path, tmp_path):
    how = ["--correct", "batch-norm", "--batch-norm.samples", 100]
    out = run(*ends, "--json", "--points", 3, "--refine", 0, *how, "--out", tmp_path / "out")[1]
    assert json.loads(out)["builders"]["linear"]["correction_options"] == {"samples": 100, "seed": 0}
    rows = (tmp_path / "out" / "evaluation.csv").read_text().splitlines()
    middle = next(row.split(",") for row in rows if row.startswith("linear,0.5,train"))
    assert run("sample", path, "-t", 0.5, "-o", tmp_path / "mid.safetensors", *ends[3:], *how)[0] == 0
    words = ["connect", tmp_path / "mid.safetensors", ends[1], *ends[3:], "--points", 2, "--refine", 0, "--json"]
    again = json.loads(run(*words)[1])["builders"]["linear"]["train"]["loss_ends"][0]
    assert again == pytest.approx(float(middle[3]), rel=1e-5)


def test_the_type_of_the_path_is_kept(run, ends, path, tmp_path):
    Path.load(path).to(torch.device("cpu"), torch.float64).save(tmp_path / "wide.path.safetensors")
    out = tmp_path / "mid.safetensors"
    words = ["sample", tmp_path / "wide.path.safetensors", "-t", 0.5, "-o", out, *ends[3:], "--correct", "batch-norm"]
    assert run(*words)[0] == 0
    assert {tensor.dtype for tensor in load_file(out).values() if tensor.is_floating_point()} == {torch.float64}
    assert run(*words, "--dtype", "bfloat16")[0] == 0
    assert load_file(out)["2.running_mean"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--correct", "batch-norm"], "--correct batch-norm measures: say --data, and --model"),
        (["--data", "digits"], "--data is given, but nothing is measured"),
        (["--correct", "repiar"], "unknown correction 'repiar'"),
        (["--batch-norm.samples", "10"], "--batch-norm.samples is given, but batch-norm is not used"),
        (["--correct", "batch-norm", "--batch-norm.samples", "1"], "expected int ≥ 2"),
    ],
)
def test_flags_that_do_nothing_and_names_that_are_unknown_are_refused(run, path, tmp_path, words, said):
    status, _, err = run("sample", path, "-t", 0.5, "-o", tmp_path / "x", *words)
    assert status == 2
    assert said in err
    assert not (tmp_path / "x").exists()


def test_a_path_of_another_model_is_refused(run, ends, workspace, path, tmp_path):
    how = ["--model", f"{workspace}/net.py:linear", "--data", ends[-1], "--correct", "batch-norm"]
    status, _, err = run("sample", path, "-t", 0.5, "-o", tmp_path / "x", *how)
    assert status == 3
    assert "the path does not fit the model" in err
