"""``connectivity-hooks symmetries``: spaces, groups, coverage and what stays, as a table, as JSON and as a picture."""

import json
from xml.etree import ElementTree

import pytest

MODELS = """
import torch
from torch import nn


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 4))


class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.out = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.out(self.up(x).sort(-1).values)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x) if x.sum() > 0 else -self.inner(x)


class Training(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.norm, self.out = nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3)

    def forward(self, x):
        self.norm.train()
        return self.out(self.norm(self.up(x)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.up, self.out = nn.Embedding(11, 6), nn.Linear(6, 9), nn.Linear(9, 11)

    def forward(self, x):
        return self.out(self.up(self.table(x)).tanh())
"""


@pytest.fixture
def models(tmp_path):
    (tmp_path / "nets.py").write_text(MODELS)
    return lambda name: ("symmetries", "--model", f"{tmp_path}/nets.py:{name}")


def test_spaces_groups_and_coverage_are_told(run, models):
    status, out, _ = run(*models("mlp"), "--input-shape", "3,2,2", "--json")
    found = json.loads(out)
    assert status == 0
    spaces = {each["name"]: each for each in found["spaces"]}
    assert {name: each["used"] for name, each in spaces.items()} == {"1.weight": "Mon₊", "3.weight": "S"}
    assert all(each["derived"] == each["measured"] == each["used"] for each in spaces.values())
    assert spaces["1.weight"]["neurons"] == 8
    assert spaces["1.weight"]["causes"] == ["aten.relu (2) leaves Mon₊"]
    assert {each["weight"] for each in spaces["1.weight"]["members"]} == {"1.weight", "1.bias", "3.weight"}
    # Of 12·8 + 8 + 8·6 + 6 + 6·4 + 4 weights all but the biases of the outputs.
    assert found["weights"] == 186
    assert found["coverage"] == pytest.approx(182 / 186)
    assert found["deviation"] < 1e-12
    assert found["refuted"] == []
    assert {each["name"]: each["by"] for each in found["pinned"]} == {
        "the input": ["the input"],
        "5.weight": ["the outputs"],
    }


def test_the_table_has_a_line_for_each_and_names_what_stays(run, models):
    status, out, err = run(*models("Sorted"), "--input-shape", "5")
    assert status == 0, err
    assert "aten.sort" in next(line for line in out.splitlines() if line.startswith("up.weight"))
    assert "Coverage: 0.0 %" in out
    assert "Deviation" not in out
    assert "derivative" not in out
    status, out, _ = run(*models("mlp"), "--input-shape", "12")
    assert "Mon₊" in next(line for line in out.splitlines() if line.startswith("1.weight"))


def test_tokens_and_data_say_what_a_model_is_run_on(run, models, workspace):
    status, out, _ = run(*models("Words"), "--input-shape", "4", "--input-type", "tokens:11", "--json")
    assert status == 0
    assert {each["name"]: each["used"] for each in json.loads(out)["spaces"]} == {
        "table.weight": "GL",
        "up.weight": "S±",
    }
    model = ("symmetries", "--model", f"{workspace}/net.py:make")
    status, out, _ = run(*model, "--data", workspace / "data.npz", "--json")
    assert status == 0
    assert json.loads(out)["inputs"] == "inputs (1, 6, 6)"


def test_a_model_of_timm_needs_no_shape(run):
    pytest.importorskip("timm")
    status, out, err = run(
        "symmetries", "--model", "timm:test_vit?img_size=32&in_chans=1&num_classes=4&depth=1", "--json"
    )
    assert status == 0, err
    found = json.loads(out)
    assert found["inputs"] == "inputs (1, 32, 32)"
    assert [each["used"] for each in found["spaces"]] == ["O₁", "S", "O", "GL", "S"]
    assert [each["copies"] for each in found["spaces"]] == [1, 1, 2, 2, 1]
    assert [each["label"] for each in found["spaces"][2:4]] == [
        "blocks.0.attn.qkv.weight[0:128]",
        "blocks.0.attn.qkv.weight[128:192]",
    ]


def test_a_folder_has_the_figures_and_a_picture(run, models, tmp_path):
    status, out, _ = run(*models("mlp"), "--input-shape", "12", "--out", tmp_path / "found", "--json")
    assert status == 0
    assert json.loads((tmp_path / "found" / "symmetries.json").read_text(encoding="utf-8")) == json.loads(out)
    text = "".join(ElementTree.parse(tmp_path / "found" / "symmetries.svg").getroot().itertext())
    for words in ("1.weight", "8  Mon₊", "S: permutations", "the outputs"):
        assert words in text


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        (("mlp",), "say --input-shape 3,32,32", 2),
        (("mlp", "--input-shape", "3,x"), "--input-shape 3,x: expected sizes", 2),
        (("mlp", "--input-shape", "0"), "one sample has 0 values", 2),
        (("mlp", "--input-shape", "12", "--input-type", "tokens:0"), "expected float, or tokens:N", 2),
        (("mlp", "--input-type", "tokens:5"), "say the shape of one sample too", 2),
        (("mlp", "--input-shape", "12", "--normalize", "0,1"), "--normalize is given, but it is for data", 2),
        (("mlp", "--input-shape", "12", "--data", "digits"), "--input-shape is given, but --data is", 2),
        (("mlp", "--input-shape", "13"), "its structure cannot be read", 3),
        (("Branching", "--input-shape", "5"), "its structure cannot be read", 3),
        (("Training", "--input-shape", "5"), "cannot be", 3),
        (("Words", "--input-shape", "4"), "its structure cannot be read", 3),
    ],
)
def test_what_cannot_be_used_is_one_line(run, models, words, message, expected):
    name, *flags = words
    status, out, err = run(*models(name), *flags)
    assert status == expected
    assert message in err
    assert len(err.splitlines()) == 1
    assert not out
