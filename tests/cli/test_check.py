"""``check`` on networks with layers that cannot be measured."""

import json

import numpy as np
import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.tasks.models import model_factory

NETWORKS = """
import torch
from torch import nn

class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 1, enable_nested_tensor=False)
        self.hidden, self.relu, self.head = nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        tokens = self.encoder(self.relu(x.flatten(1, -2)).transpose(0, 1))
        return self.head(self.relu(self.hidden(tokens.mean(0))))
"""


@pytest.fixture
def words(tmp_path):
    (tmp_path / "net.py").write_text(NETWORKS)
    spec = f"{tmp_path}/net.py:Sequences"
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 2, 5, 16)).astype(np.float32)  # four axes, which are left as they are
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(60) % 3)
    torch.manual_seed(0)
    ch.save(model_factory(spec)(), tmp_path / "a.safetensors")
    return ["check", tmp_path / "a.safetensors", "--model", spec, "--data", tmp_path / "d.npz", "--batch-size", 10]


def test_three_runs_on_a_sequence_first_layer_give_one_answer(run, words):
    """There are ten tokens, as many as samples in a batch."""
    words += ["--condition", "separability", "--condition", "feature-rank", "--layers", "encoder.layers.0"]
    runs = [run(*words, "--layers", "hidden") for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    _, out, err = runs[0]
    assert err == ""
    assert " invalid " not in out
    assert sum("encoder.layers.0" in line for line in out.splitlines()) == 2


def test_layouts_and_tokens_may_be_named(run, words):
    words += ["--condition", "feature-rank", "--layers", "encoder.layers.0", "--json"]
    answers = [
        json.loads(run(*words, *more)[1])["conditions"][0]
        for more in ([], ["--axes", "TNC"], ["--axes", "CNT"], ["--pool", "last"], ["--pool", "flatten"])
    ]
    assert [answer["details"]["neurons"] for answer in answers] == [16, 16, 10, 16, 160]
    assert answers[0] == answers[1]
    assert answers[3]["details"]["effective_rank"] != answers[0]["details"]["effective_rank"]
    status, out, _ = run(*words, "--axes", "encoder.*=NTC")
    assert status == 4
    assert "axis 1 of its shape (10, 3, 16) counts the samples" in out


@pytest.mark.parametrize("letters", ["NTD", "tnc", "encoder.layers.0="])
def test_letters_that_are_no_layout_are_refused(run, words, letters):
    status, out, err = run(*words, "--condition", "feature-rank", "--axes", letters)
    assert (status, out) == (2, "")
    assert "N for the samples and C for the neurons" in err
    assert len(err.splitlines()) == 1


def test_proposed_layers_are_answered_call_by_call_and_others_said(run, words):
    words += ["--condition", "feature-rank", "--feature-rank.least", "0"]
    status, out, err = run(*words)
    assert status == 0
    assert "relu[0]" in out
    assert "relu[1]" in out
    assert err.startswith("layers that cannot be looked at: ")
    assert "unused" in err
    status, out, err = run(*words, "--json")
    answer = json.loads(out)
    assert "unused:input" in answer["left_out"]
    assert "encoder.layers.0.linear1:input" in {verdict["layer"] for verdict in answer["conditions"]}
    assert all(verdict["status"] == "holds" for verdict in answer["conditions"])
    status, out, _ = run(*words, "--layers", "relu[1]")
    assert status == 0
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("axes", "found"),
    [
        (["nope=TNC"], "layout nope=TNC: no layer 'nope' in Sequences; "),
        (["NHWC", "NTC"], "layout NHWC: no layer that is looked at has 4 axes; leave it out"),
        (["head=NC"], "layout head=NC: head is not among the layers that are looked at"),
        (["=TNC"], "layout '=TNC': names no layer before the ="),
        (["encoder=TNC", "encoder=NTC"], "layout 'NTC': another is named for encoder already"),
    ],
)
def test_axes_that_would_do_nothing_are_refused(run, words, axes, found):
    words += ["--condition", "separability", "--layers", "encoder"]
    status, _, err = run(*words, *(word for each in axes for word in ("--axes", each)))
    assert status == 2
    assert found in err.replace("\n", " ")
