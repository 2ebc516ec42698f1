"""What a plugin's command is in Python: ``connectivity_hooks.NAME``."""

import types

import pytest

import connectivity_hooks as ch
from connectivity_hooks.contracts import Command
from connectivity_hooks.registry import registry as module_of
from connectivity_hooks.registry.registry import registry


class Mean(Command):
    """Average numbers."""

    name = "mean-of-numbers"

    def command(self):
        raise NotImplementedError

    def function(self):
        return lambda *numbers: sum(numbers) / len(numbers)


class Silent(Mean):
    """Only a command."""

    def function(self):
        return super(Mean, self).function()


@pytest.fixture
def offered(monkeypatch):
    assert module_of is registry
    monkeypatch.setattr(
        registry(), "commands", {"mean": types.SimpleNamespace(cls=Mean), "silent": types.SimpleNamespace(cls=Silent)}
    )


def test_a_commands_function_is_called_by_its_name(offered):
    assert ch.mean(1, 2, 6) == 3


@pytest.mark.parametrize("name", ["silent", "nothing_of_that_name", "_mean", "__wrapped__"])
def test_what_is_no_function_is_no_attribute(offered, name):
    assert not hasattr(ch, name)
    with pytest.raises(AttributeError, match=name):
        getattr(ch, name)
