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


def test_three_runs_on_a_sequence_first_layer_give_one_invalid_answer(run, words):
    """There are ten tokens, as many as samples in a batch."""
    words += ["--condition", "separability", "--condition", "feature-rank", "--layers", "encoder.layers.0"]
    runs = [run(*words, "--layers", "hidden") for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    status, out, err = runs[0]
    assert status == 4
    assert err == ""
    invalid = [line for line in out.splitlines() if " invalid " in line]
    assert len(invalid) == 2
    assert all("encoder.layers.0" in line and "expected 3 rows" in line and "found 10" in line for line in invalid)


def test_proposed_layers_are_answered_call_by_call_and_others_said(run, words):
    words += ["--condition", "feature-rank", "--feature-rank.least", "0"]
    status, out, err = run(*words)
    assert status == 0
    assert "relu[0]" in out
    assert "relu[1]" in out
    assert err.startswith("layers that cannot be looked at: ")
    assert "unused" in err or "linear1:input" in err
    status, out, err = run(*words, "--json")
    answer = json.loads(out)
    assert "encoder.layers.0.linear1:input" in answer["left_out"]
    assert all(verdict["status"] == "holds" for verdict in answer["conditions"])
    status, out, _ = run(*words, "--layers", "relu[1]")
    assert status == 0
    assert len(out.splitlines()) == 3
