"""Curve builders pass the suite that strangers' builders pass, whatever the budget is counted in."""

import pytest

from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import UsageError
from connectivity_hooks.testing import BuilderSuite
from connectivity_hooks_curves.bezier import Bezier, Polychain


class TestBezier(BuilderSuite):
    builder = Bezier
    options = {"budget": "7steps", "batch_size": 32}  # noqa: RUF012


class TestPolychain(BuilderSuite):
    builder = Polychain
    options = {"budget": "2.5epochs", "batch_size": 32, "bends": 3}  # noqa: RUF012


class TestBezierOfFour(BuilderSuite):
    builder = Bezier
    options = {"budget": "5steps", "bends": 3, "precision": "bfloat16", "clip": None}  # noqa: RUF012


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
        "seed": 0,
    }


@pytest.mark.parametrize("budget", ["5x", "0steps", "2.5steps", "-1s", "", "1e400s"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(UsageError, match="budget: expected a budget such as 300steps"):
        make_options(Bezier.Options, {"budget": budget}, "bezier")
