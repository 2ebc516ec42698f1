"""``connectivity-hooks verify``."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from connectivity_hooks.paths import Path


@pytest.fixture(scope="session")
def task_words(workspace):
    return ["--model", f"{workspace}/net.py:make", "--data", workspace / "data.npz"]


@pytest.fixture
def file(run, ends, tmp_path):
    words = [*ends, "--builder", "certified", "--certified.effort", "quick", "--out", tmp_path]
    assert run(*words)[0] == 0
    return tmp_path / "certified.path.safetensors"


def test_a_good_file_is_verified_with_its_bound(run, file, task_words, workspace):
    checkpoints = ["--checkpoint", workspace / "a.safetensors", "--checkpoint", workspace / "b.safetensors"]
    status, out, _ = run("verify", file, *task_words, *checkpoints)
    assert status == 0
    assert out.startswith("Verified: every claim of the file holds.")
    assert "the checkpoints bit for bit" in out
    status, out, _ = run("verify", file, *task_words, "--json")
    assert status == 0
    assert json.loads(out)["bound"]["train"] > 0


def test_a_limit_that_is_not_proven_exits_with_4(run, file, task_words):
    assert run("verify", file, *task_words, "--fail-above", "100")[0] == 0
    assert run("verify", file, *task_words, "--fail-above", "1e-9")[0] == 4


def test_a_fault_is_named_and_exits_with_4(run, file, task_words, tmp_path):
    path = Path.load(file)
    points = [{name: tensor.clone() for name, tensor in point.items()} for point in path.points()]
    points[2]["1.weight"][3] = float("nan")
    forged = tmp_path / "forged.path.safetensors"
    Path.from_points(points, positions=path.positions, guarantees=path.guarantees).save(forged)
    status, out, _ = run("verify", forged, *task_words)
    assert status == 4
    assert out.startswith("Refuted")
    assert "point 2, 1.weight: holds NaN or Inf" in out
    status, out, _ = run("verify", forged, *task_words, "--json")
    assert status == 4
    assert json.loads(out)["holds"] is False


def test_one_checkpoint_is_wrong_usage(run, file, task_words, workspace):
    status, _, err = run("verify", file, *task_words, "--checkpoint", workspace / "a.safetensors")
    assert status == 2
    assert "both ends of the path or none" in err


def test_a_file_that_is_no_path_is_refused(run, task_words, workspace):
    status, _, err = run("verify", workspace / "a.safetensors", *task_words)
    assert status == 3
    assert err.count("\n") == 1


def test_verify_compares_headers_before_any_tensor_is_read(run, task_words, workspace, tmp_path, monkeypatch):
    from connectivity_hooks.checkpoints import reading

    wide = load_file(workspace / "a.safetensors")
    wide["4.bias"] = torch.zeros(5)
    save_file(wide, tmp_path / "wide.safetensors")
    monkeypatch.setattr(reading, "contents_of", lambda *given: pytest.fail("a tensor was read"))
    both = ["--checkpoint", workspace / "a.safetensors", "--checkpoint", tmp_path / "wide.safetensors"]
    status, _, err = run("verify", tmp_path / "p.path.safetensors", *task_words, *both)
    assert (status, "wide.safetensors: does not fit the model" in err) == (3, True)


def test_an_alignment_that_nothing_was_compared_with_is_not_called_verified(run, ends, task_words, workspace, tmp_path):
    status, _, err = run(*ends, "--align", "weight-matching", "--out", tmp_path / "out")
    assert status == 0, err
    path = tmp_path / "out" / "linear.path.safetensors"
    status, out, _ = run("verify", path, *task_words)
    assert status == 0
    assert out.startswith("Verified, but for the alignment")
    checkpoints = ["--checkpoint", workspace / "a.safetensors", "--checkpoint", workspace / "b.safetensors"]
    status, out, _ = run("verify", path, *task_words, *checkpoints)
    assert status == 0
    assert out.startswith("Verified: every claim of the file holds.")
