"""How often a command makes the model, which takes seconds where it is large; and with how many threads it computes."""

import json

import pytest
import torch

MODEL = """
import pathlib
from torch import nn

def make():
    with open(pathlib.Path(__file__).with_suffix(".made"), "a") as made:
        made.write("once more\\n")
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "counted.py").write_text(MODEL)
    return f"{tmp_path}/counted.py:make"


@pytest.fixture
def made(tmp_path):
    """Return a function that says how often the model was made since it was asked last."""

    def made():
        file = tmp_path / "counted.made"
        count = file.read_text().count("\n")
        file.unlink()
        return count

    return made


@pytest.mark.parametrize("builder", ["linear", "certified"])
def test_connect_and_verify_make_the_model_once(run, ends, model, made, tmp_path, builder):
    ends[4] = model
    assert run(*ends, "--builder", builder, "--out", tmp_path / "out")[0] == 0
    assert made() == 1
    path = tmp_path / "out" / f"{builder}.path.safetensors"
    assert run("verify", path, *ends[3:], "--checkpoint", ends[1], "--checkpoint", ends[2])[0] == 0
    assert made() == 1


def test_check_makes_the_model_once(run, ends, model, made):
    ends[4] = model
    assert run("check", ends[1], *ends[3:], "--condition", "feature-rank", "--feature-rank.least", 0)[0] == 0
    assert made() == 1


def test_star_makes_the_model_once_for_each_path(run, ends, model, made, tmp_path):
    ends[4] = model
    hub = tmp_path / "hub.safetensors"
    assert run("hub", *ends[3:], "--effort", "quick", "--out", hub)[0] == 0
    made()
    words = ["star", *ends[1:], "--hub", hub, "--effort", "quick", "--out", tmp_path / "star"]
    assert run(*words)[0] == 0
    assert made() == 2


def test_two_checks_of_a_condition_and_a_path_share_no_weights(run, ends, workspace):
    """What is handed over is never in two hands: with conditions, the figures of the path are the same."""
    flags = ["--json", "--condition", "feature-rank"]
    plain, checked = (json.loads(run(*ends, *more)[1])["builders"] for more in (["--json"], flags))
    assert plain["linear"]["train"] == checked["linear"]["train"]


def test_the_threads_asked_for_are_used_and_reported(run, ends):
    before = torch.get_num_threads()
    for count in (1, 3):
        status, out, _ = run(*ends, "--threads", count, "--json")
        assert status == 0
        assert json.loads(out)["environment"]["threads"] == count
        assert torch.get_num_threads() == before
    for wrong in ("0", "many", "1.5"):
        status, _, err = run(*ends, "--threads", wrong)
        assert status == 2
        assert "--threads" in err
