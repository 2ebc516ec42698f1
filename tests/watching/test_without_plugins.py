"""The core watches without any plugin: it names no method of its own accord."""

import warnings

import pytest
from watched_training import Mean, data, steps

import connectivity_hooks as ch
from connectivity_hooks.registry import registry
from connectivity_hooks.registry.loading import installed, load
from connectivity_hooks.registry.registry import Registry


@pytest.fixture
def no_theorem(monkeypatch):
    """Block the plugin that the conditions come from."""
    entries = [entry for entry in installed() if "theorem" not in entry.value]
    assert len(entries) < len(installed())
    known = Registry(load(entries))
    assert not known.conditions
    for module in ("checking", "watching.conditions", "registry"):
        monkeypatch.setattr(f"connectivity_hooks.{module}.registry", lambda: known)


def test_with_every_condition_blocked_the_training_is_counted_and_saved_and_it_is_said(no_theorem, net, tmp_path):
    with (
        pytest.warns(UserWarning, match="no installed plugin proposes one") as said,
        ch.watch(net, data(), every=2, save=tmp_path, strict=True) as watch,
    ):
        steps(net, 4, watch)
    assert len(said) == 1
    assert (watch.steps, watch.history, watch.faults) == (4, (), ())
    assert len(list(tmp_path.iterdir())) == 2


def test_conditions_of_the_users_own_need_no_plugin(no_theorem, net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ch.watch(net, data(), every=2, conditions=[Mean()], strict=True) as watch:
            steps(net, 2, watch)
    assert {row.condition for row in watch.history} == {"mean"}


def test_the_default_is_what_plugins_propose(net):
    proposed = {name for name, entry in registry().conditions.items() if entry.cls.watched}
    with ch.watch(net, data(), every=2, strict=True) as watch:
        steps(net, 2, watch)
    assert {row.condition for row in watch.history} == proposed == {"separability"}
