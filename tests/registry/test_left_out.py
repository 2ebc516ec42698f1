"""Plugins that the user left out are named where something of theirs is asked for."""

import pytest
from click.testing import CliRunner

from connectivity_hooks.cli.demo import command as demo
from connectivity_hooks.cli.plugins import command as plugins
from connectivity_hooks.errors import UsageError
from connectivity_hooks.registry import registry
from connectivity_hooks.registry.registry import BLOCKED
from connectivity_hooks.tasks.models import model_factory


@pytest.fixture
def without(monkeypatch):
    """Return a function that leaves plugins out until the test ends."""

    def leave_out(setting):
        monkeypatch.setenv(BLOCKED, setting)
        registry.cache_clear()

    yield leave_out
    monkeypatch.undo()
    registry.cache_clear()


def test_where_all_are_switched_off_it_is_said(without):
    without("1")
    with pytest.raises(UsageError, match=r"unknown builder .linear.; .*plugins are switched off"):
        registry().builder("linear")


def test_the_plugins_that_are_blocked_are_named_and_no_others(without):
    without("curves,no-such-plugin")
    with pytest.raises(UsageError, match="unknown builder 'linear'; known: certified; curves is blocked"):
        registry().builder("linear")
    without("curves,theorem")
    with pytest.raises(UsageError, match="curves, theorem are blocked"):
        registry().builder("linear")


def test_where_nothing_is_left_out_nothing_is_said_of_it(without):
    without("")
    with pytest.raises(UsageError) as refused:
        registry().builder("lineal")
    assert "blocked" not in str(refused.value)
    assert "switched off" not in str(refused.value)


def test_a_model_of_a_library_whose_adapter_is_blocked_says_so(without):
    pytest.importorskip("timm")
    without("timm")
    with pytest.raises(UsageError, match="timm is blocked"):
        model_factory("timm:resnet18")


def test_the_list_of_no_plugins_says_so(without):
    without("1")
    found = CliRunner().invoke(plugins, [])
    assert found.exit_code == 0
    assert found.output.startswith("no plugins\nplugins are switched off")


def test_the_demo_says_before_it_trains_that_there_is_no_builder(without, tmp_path):
    without("1")
    found = CliRunner().invoke(demo, ["--out", str(tmp_path / "demo")])
    assert isinstance(found.exception, UsageError)
    assert "unknown builder" in str(found.exception)
    assert "plugins are switched off" in str(found.exception)
    assert not (tmp_path / "demo").exists()
