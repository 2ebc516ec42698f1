"""Curve builders pass the suite that strangers' builders pass, whatever the budget is counted in."""

import json

import pytest
import torch
from small_networks import mlp, vector_task

import connectivity_hooks as ch
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import UsageError
from connectivity_hooks.testing import BuilderSuite
from connectivity_hooks_curves.autoneb.builder import AutoNEB
from connectivity_hooks_curves.bezier import Bezier, Polychain
from connectivity_hooks_curves.layerwise.builder import Layerwise


class TestBezier(BuilderSuite):
    builder = Bezier
    options = {"budget": "7steps", "batch_size": 32}  # noqa: RUF012


class TestPolychain(BuilderSuite):
    builder = Polychain
    options = {"budget": "2.5epochs", "batch_size": 32, "bends": 3}  # noqa: RUF012


class TestBezierOfFour(BuilderSuite):
    builder = Bezier
    options = {"budget": "5steps", "bends": 3, "precision": "bfloat16", "clip": None}  # noqa: RUF012


class TestAutoNEB(BuilderSuite):
    builder = AutoNEB
    options = {"budget": "30steps", "batch_size": 32, "lr": 0.02, "cycles": 3, "excess": 0.01}  # noqa: RUF012


class TestAutoNEBOfEpochs(BuilderSuite):
    builder = AutoNEB
    options = {"budget": "1.5epochs", "pivots": 4, "precision": "bfloat16", "clip": None}  # noqa: RUF012


class TestLayerwise(BuilderSuite):
    builder = Layerwise
    options = {"budget": "30steps", "batch_size": 32, "rounds": 3, "points": 4}  # noqa: RUF012


class TestLayerwiseOfEpochs(BuilderSuite):
    builder = Layerwise
    options = {"budget": "1.5epochs", "precision": "bfloat16", "clip": None}  # noqa: RUF012


@pytest.mark.parametrize("builder", [Bezier, Polychain])
def test_every_option_is_written_into_the_path(builder):
    assert builder().used_options() == {
        "budget": "2000steps",
        "batch_size": 256,
        "lr": 3e-3,
        "weight_decay": 0.0,
        "clip": 1.0,
        "target": None,
        "precision": "full",
        "bends": 1,
        "draws": 1,
        "sharded": False,
        "seed": 0,
    }


@pytest.mark.parametrize("budget", ["5x", "0steps", "2.5steps", "-1s", "", "1e400s"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(UsageError, match="budget: expected a budget such as 300steps"):
        make_options(Bezier.Options, {"budget": budget}, "bezier")


@pytest.mark.parametrize(("target", "steps"), [(None, 60), (100.0, 50)])
def test_a_path_says_how_long_it_was_trained_and_why_no_longer(target, steps, tmp_path):
    task = vector_task(lambda: mlp(4))
    ends = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, file in enumerate(ends):
        torch.manual_seed(seed)
        ch.save(task.factory(), file)
    options = {"budget": "60steps", "batch_size": 32, "target": target}
    path = ch.connect(*ends, task, builder="bezier", options=options)
    assert path.remarks["steps"] == steps
    assert ("below the target" in path.remarks.get("ended", "")) == (target is not None)
    path.save(tmp_path / "path.safetensors")
    assert ch.Path.load(tmp_path / "path.safetensors").remarks == path.remarks
    report = ch.evaluate(path, task, points=2, refine=0)
    report.save(tmp_path / "report")
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["builders"]["bezier"]["remarks"] == path.remarks
