"""``connectivity-hooks ensemble`` as a user meets it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks_averaging.commands.ensemble import command

NET = """
from torch import nn


def make(hidden=5):
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3))
"""


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Return the words of the command, in a folder with a path, two checkpoints and data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(150, 4)).astype("float32"), draws.integers(0, 3, 150)
    np.savez("d.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(3)]
    for name, model in zip("abc", nets, strict=True):
        ch.save(model, f"{name}.safetensors")
    ch.Path.from_points([model.state_dict() for model in nets[:2]]).save("p.path.safetensors")
    return [command, "p.path.safetensors", "--model", "net.py:make", "--data", "d.npz"]


def test_it_tells_and_writes_what_it_found(run, words, tmp_path):
    status, out, _ = run(*words, "--points", "3", "--beside", "c.safetensors", "--out", "out")
    assert status == 0
    assert "ensemble of 3 points" in out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"ensemble.json", "ensemble.html", "ensemble.svg"} <= names
    status, out, _ = run(*words, "--points", "3", "--beside", "c.safetensors", "--json")
    content = json.loads(out)
    assert content == json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert content["path"]["t"] == [0, pytest.approx(0.5), 1]
    assert {"A", "B", "c", "mean of weights", "ensemble of 3 points"} <= content["rows"].keys()


def test_it_is_a_function_in_python(words):
    task = ch.make_task(model="net.py:make", data="d.npz")
    assert ch.ensemble("p.path.safetensors", task, points=2).split == "test"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--points", "1"], 2),
        (["--points", "1001"], 2),
        (["--hold-out", "1"], 2),
        (["--batch-norm.samples", "7"], 2),
        (["--beside", "gone.safetensors"], 3),
        (["--loss", "l1"], 3),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(run, words, tmp_path, more, expected):
    status, out, err = run(*words, *more, "--out", "out")
    assert (status, out) == (expected, "")
    assert err.strip()
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "ensemble.json").exists()


def test_a_checkpoint_is_no_path(run, words):
    status, _, err = run(words[0], "a.safetensors", *words[2:])
    assert status == 3
    assert len(err.strip().splitlines()) == 1


def test_another_model_is_refused_in_a_line(run, words):
    status, _, err = run(words[0], *[word.replace("net.py:make", "net.py:make?hidden=6") for word in words[1:]])
    assert status == 3
    assert "does not fit the model" in err
    assert len(err.strip().splitlines()) == 1
