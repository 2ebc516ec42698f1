"""benchmarks/alignment.py: its rows say what happened, its networks and trainings are what they claim to be."""

import json
import sys

import numpy as np
import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.contracts import Aligner, Alignment
from connectivity_hooks.registry import registry

ORDER = torch.tensor([3, 0, 4, 1, 2])


def reordered(weights, order):
    """Return the two-layer MLP with its hidden neurons in another order."""
    return {
        "1.weight": weights["1.weight"][order],
        "1.bias": weights["1.bias"][order],
        "3.weight": weights["3.weight"][:, order],
        "3.bias": weights["3.bias"],
    }


class Undoing(Aligner):
    """Undoes the reordering of the test."""

    name = "undoing"

    def align(self, a, b, task):
        return Alignment(reordered(b, ORDER.argsort()), {"coverage": 0.5, "order": ORDER.tolist()})


class Refusing(Aligner):
    """Aligns nothing."""

    name = "refusing"

    def align(self, a, b, task):
        raise ch.InputError("nothing | to align")


@pytest.fixture
def run(script, monkeypatch, tmp_path, capsys):
    """Return a function that runs the benchmark between an MLP and its reordered copy; it returns JSON and output."""
    alignment = script("alignment")
    network = alignment.Network("alignment_networks.py:plain_mlp?depth=1&width=5", "mnist.npz", None, (40, 20))
    monkeypatch.setitem(alignment.NETWORKS, "mlp", network)
    known = registry().aligners
    for aligner in (Undoing, Refusing):
        entry = type(next(iter(registry().builders.values())))
        monkeypatch.setitem(known, aligner.name, entry(aligner.name, aligner, registry().builders["linear"].origin))
    torch.manual_seed(0)
    model = script("alignment_networks").plain_mlp(1, 5)
    model[3].weight.data *= 30  # so that another order of the neurons gives other answers
    x = torch.rand(70, 28, 28)
    y = model((x - 0.1307) / 0.3081).argmax(1)  # what the ends answer
    arrays = {"x_train": x[:50], "y_train": y[:50], "x_test": x[50:], "y_test": y[50:]}
    np.savez(tmp_path / "data.npz", **{name: each.numpy() for name, each in arrays.items()})
    ch.save(model, tmp_path / "a.safetensors")
    model.load_state_dict(reordered(dict(model.state_dict()), ORDER))
    ch.save(model, tmp_path / "b.safetensors")

    def outcome(*words):
        ends = ["--ends", *(str(tmp_path / f"{name}.safetensors") for name in "ab")]
        words = ["--network", "mlp", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path), *ends, *words]
        monkeypatch.setattr(sys, "argv", ["alignment.py", *words])
        alignment.main()
        return json.loads((tmp_path / "mlp.json").read_text(encoding="utf-8"))["rows"], capsys.readouterr().out

    return outcome


def test_rows_stand_beside_the_plain_line(run):
    rows, printed = run("--align", "undoing", "refusing", "--correct", "batch-norm?samples=10")
    named = [(row["align"], row.get("correct")) for row in rows]
    corrections = ("none", "batch-norm?samples=10")
    assert named == [
        *(("none", one) for one in corrections),
        *(("undoing", one) for one in corrections),
        ("refusing", None),
    ]
    plain, undone, refused = rows[0], rows[2], rows[4]
    assert plain["share"] == {"train": 1.0, "test": 1.0}
    assert plain["train"]["barrier"] > 0.1
    for split in ("train", "test"):
        assert undone[split]["barrier"] == pytest.approx(0, abs=1e-6)
        assert undone["share"][split] == pytest.approx(0, abs=1e-4)
        assert undone[split]["loss"] == pytest.approx(plain[split]["loss_ends"][0], rel=1e-6)
        assert undone[split]["accuracy"] == plain[split]["accuracy_ends"][0]
    assert undone["record"] == {"coverage": 0.5}
    assert undone["deviation"] < 1e-12
    assert refused["refused"].endswith("nothing | to align")
    assert printed.count("\n| ") == 6  # a head and five rows


def test_an_unknown_method_is_refused_before_anything_is_made(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--align", "undoing?sweeps=3")
    assert "sweeps" in capsys.readouterr().err


def test_of_each_character_the_next_is_the_target(script):
    networks = script("alignment_networks")
    characters = "a\n~ é\t" * 50
    codes = networks.codes_of(characters)
    assert codes.shape == (len(characters.replace("é", "")) // 65, 65)
    assert codes[0, :5].tolist() == [ord("a") - 31, 96, 95, 1, 0]  # é is left out, the tab is another character
    splits = networks.text(20_000)
    assert len(splits["train"]) + len(splits["test"]) == 20_000 // 65
    inputs, targets = next(splits["train"].batches(7))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert int(inputs.max()) < networks.VOCABULARY


def test_the_character_network_sees_no_later_character(script):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = script("alignment_networks").gpt().double().eval()
    codes = torch.randint(0, 97, (2, 64))
    other = torch.cat([codes[:, :40], (codes[:, 40:] + 1) % 97], 1)
    with torch.no_grad():
        before, after = model(codes), model(other)
    assert before.shape == (2, 64, 97)
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40:], after[:, 40:])


@pytest.mark.parametrize(
    ("recipe", "options"), [("train_transformer", {"steps": 60, "peak": 0.02}), ("train_sgd", {"epochs": 30})]
)
def test_a_training_learns_and_is_that_of_its_seed(script, recipe, options):
    recipe = getattr(script("training"), recipe)
    torch.manual_seed(0)
    x = torch.randn(200, 784)
    y = (x[:, 0] > 0).long()
    x[:, 1:] *= 0.1
    task = ch.make_task(model=lambda: script("alignment_networks").plain_mlp(1, 8), data=[(x, y)], device="cpu")
    first, again, other = (recipe(task, seed, batch_size=50, warmup=2, **options).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])
    model = task.model()
    model.load_state_dict(first)
    with torch.no_grad():
        assert (model(x).argmax(1) == y).float().mean() > 0.9
