"""The examples of docs/integrations.md, run as they are written."""

import importlib
import pathlib
import re

import pytest
import torch

import connectivity_hooks as ch

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "integrations.md"


def blocks(host):
    """Return the Python blocks of the section of that name."""
    sections = dict(
        re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
    return re.findall(r"```python\n(.*?)```", sections[host], re.DOTALL)


def needed(*modules):
    for name in modules:
        pytest.importorskip(name)


def run(code, names):
    with torch.random.fork_rng():
        exec(code, names)


def steps(folder):
    return sorted({row.step for row in ch.watching.read_history(folder)})


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_two_lines_for_timm(tmp_path):
    needed("timm.task")
    parts = importlib.import_module("timm_training")
    folder = parts.images(tmp_path / "images", 4)
    task, optimizer = parts.parts()
    names = {"start_epoch": 0, "num_epochs": 2, "task": task, "optimizer": optimizer, "output_dir": tmp_path / "out"}
    names["loader_eval"] = parts.loader(folder)
    top, loop, averaged = blocks("timm")
    assert loop.count("\n") == top.count("\n") == 1
    run(f"{top}{loop}    optimizer.step()\n", names)
    assert steps(tmp_path / "out") == [1, 2]
    task.setup_ema(decay=0.5)
    names["output_dir"] = tmp_path / "averaged"
    run(f"{averaged}    optimizer.step(); task.update_ema()\n", names)
    assert "average" in {row.condition for row in ch.watching.read_history(tmp_path / "averaged")}


@pytest.mark.filterwarnings("ignore:.*(does not have many workers|logging interval|LeafSpec).*")
def test_the_example_for_lightning(tmp_path):
    needed("sklearn", "lightning.pytorch")
    example, averaged = blocks("Lightning")
    names = {}
    run(example, names)
    assert len(steps(tmp_path / "watched")) == 2
    if hasattr(importlib.import_module("lightning.pytorch.callbacks"), "EMAWeightAveraging"):  # Lightning 2.6
        run(averaged, names)
        assert names["watching"].watch.history[-1].layer == "EMAWeightAveraging"
        assert "The average EMAWeightAveraging" in names["watching"].watch.summary().replace("Whether the", "The")


def test_the_example_for_transformers(tmp_path):
    needed("sklearn", "transformers", "accelerate")
    example, averaged = blocks("Transformers")
    names = {}
    run(example, names)
    assert steps(tmp_path / "watched")[0] == 20
    run(averaged, names)
    assert {row.condition for row in names["watching"].watch.history} == {"average"}


def test_the_recipe_for_accelerate(tmp_path):
    needed("sklearn", "accelerate")
    (recipe,) = blocks("Accelerate")
    names = {}
    run(recipe, names)
    assert steps(tmp_path / "watched")[:3] == [5, 10, 15]
    assert names["watch"].epochs == 2
